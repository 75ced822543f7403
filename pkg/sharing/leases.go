package sharing

import (
	"context"
	"fmt"

	coordv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Leases is what a Group asks of Kubernetes: the Leases of one namespace. It is
// safe for concurrent use; errors are those of client-go.
type Leases interface {
	// ListWatch lists and watches the Leases that the label selector selects.
	ListWatch(selector string) cache.ListerWatcher
	Get(ctx context.Context, name string) (*coordv1.Lease, error)
	Create(ctx context.Context, l *coordv1.Lease) (*coordv1.Lease, error)
	// Update fails with a conflict if the Lease has changed since it was read.
	Update(ctx context.Context, l *coordv1.Lease) (*coordv1.Lease, error)
	Delete(ctx context.Context, name string) error
}

// restLeases is Leases over HTTP, with the types of this API group only: the
// clientset would bring those of all.
type restLeases struct {
	client    rest.Interface
	params    runtime.ParameterCodec
	namespace string
}

// NewLeases makes the Leases of a namespace of a cluster.
func NewLeases(config *rest.Config, namespace string) (Leases, error) {
	scheme := runtime.NewScheme()
	if err := coordv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("types of Leases: %w", err)
	}
	cfg := rest.CopyConfig(config)
	gv := coordv1.SchemeGroupVersion
	cfg.GroupVersion, cfg.APIPath = &gv, "/apis"
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	if cfg.UserAgent == "" {
		cfg.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client for Leases: %w", err)
	}
	return &restLeases{client: client, params: runtime.NewParameterCodec(scheme), namespace: namespace}, nil
}

func (r *restLeases) ListWatch(selector string) cache.ListerWatcher {
	return cache.NewFilteredListWatchFromClient(r.client, "leases", r.namespace, func(o *metav1.ListOptions) { o.LabelSelector = selector })
}

func (r *restLeases) request(req *rest.Request) *rest.Request {
	return req.Namespace(r.namespace).Resource("leases")
}

func (r *restLeases) Get(ctx context.Context, name string) (*coordv1.Lease, error) {
	out := &coordv1.Lease{}
	return out, r.request(r.client.Get()).Name(name).Do(ctx).Into(out)
}

func (r *restLeases) Create(ctx context.Context, l *coordv1.Lease) (*coordv1.Lease, error) {
	out := &coordv1.Lease{}
	return out, r.request(r.client.Post()).Body(l).Do(ctx).Into(out)
}

func (r *restLeases) Update(ctx context.Context, l *coordv1.Lease) (*coordv1.Lease, error) {
	out := &coordv1.Lease{}
	return out, r.request(r.client.Put()).Name(l.Name).Body(l).Do(ctx).Into(out)
}

func (r *restLeases) Delete(ctx context.Context, name string) error {
	return r.request(r.client.Delete()).Name(name).Do(ctx).Error()
}
