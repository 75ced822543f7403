package podlogs

import (
	"context"
	"fmt"
	"io"
	"net/http"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// API is what the collector asks of Kubernetes beside the logs. It is safe for
// concurrent use; errors are those of client-go.
type API interface {
	// ListWatch lists and watches "pods" or "namespaces", in one namespace or,
	// with "", in all.
	ListWatch(resource, namespace string) cache.ListerWatcher
	// Pod fetches one pod.
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	// Review asks whether we may do something.
	Review(ctx context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error)
}

// The types that we speak. client-go's clientset knows those of every API
// group; linking them would more than double the binary (65 MB instead of 29)
// and the memory that its start touches.
var (
	apiScheme = func() *runtime.Scheme {
		s := runtime.NewScheme()
		for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, authv1.AddToScheme} {
			if err := add(s); err != nil {
				panic(err) // two types of one name: a fault of the libraries
			}
		}
		return s
	}()
	apiCodecs     = serializer.NewCodecFactory(apiScheme)
	apiParameters = runtime.NewParameterCodec(apiScheme)
)

// newRESTClient makes a client for one API group. A nil h means a transport
// of its own.
func newRESTClient(config *rest.Config, gv schema.GroupVersion, h *http.Client) (rest.Interface, error) {
	cfg := rest.CopyConfig(config)
	cfg.GroupVersion, cfg.APIPath = &gv, "/apis"
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.NegotiatedSerializer = apiCodecs.WithoutConversion()
	if cfg.UserAgent == "" {
		cfg.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	if h != nil {
		return rest.RESTClientForConfigAndClient(cfg, h)
	}
	return rest.RESTClientFor(cfg)
}

// restAPI is API over HTTP.
type restAPI struct{ core, auth rest.Interface }

// newAPI makes the API of a cluster. Objects come as protobuf: that is a third
// of the work of JSON.
func newAPI(config *rest.Config) (API, error) {
	cfg := rest.CopyConfig(config)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	core, err := newRESTClient(cfg, corev1.SchemeGroupVersion, nil)
	if err != nil {
		return nil, fmt.Errorf("client for pods: %w", err)
	}
	auth, err := newRESTClient(cfg, authv1.SchemeGroupVersion, nil)
	if err != nil {
		return nil, fmt.Errorf("client for permissions: %w", err)
	}
	return restAPI{core: core, auth: auth}, nil
}

func (a restAPI) ListWatch(resource, namespace string) cache.ListerWatcher {
	return cache.NewListWatchFromClient(a.core, resource, namespace, fields.Everything())
}

func (a restAPI) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	err := a.core.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(pod)
	return pod, err
}

func (a restAPI) Review(ctx context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error) {
	out := &authv1.SelfSubjectAccessReview{}
	err := a.auth.Post().Resource("selfsubjectaccessreviews").Body(r).Do(ctx).Into(out)
	return out, err
}

// openLog opens the log of a container.
func openLog(ctx context.Context, core rest.Interface, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	return core.Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("log").
		VersionedParams(o, apiParameters).Stream(ctx)
}
