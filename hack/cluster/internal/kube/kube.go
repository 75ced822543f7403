package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// fieldManager owns what up applies.
const fieldManager = "logstack-cluster"

// API is a client of one API server. It is safe for concurrent use.
type API struct {
	kubernetes.Interface
	dynamic dynamic.Interface
	http    *http.Client
}

// Open makes a client from the file kubeconfig, whose API is on this machine when
// local is set; nothing is sent yet. The caller closes it.
func Open(kubeconfig string, local bool) (*API, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg.QPS, cfg.Burst = 100, 100
	cfg.Timeout = 10 * time.Second
	if local {
		// A proxy of the environment could not reach it.
		cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	a := &API{}
	if a.http, err = rest.HTTPClientFor(cfg); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if a.Interface, err = kubernetes.NewForConfigAndClient(cfg, a.http); err != nil {
		return nil, err
	}
	a.dynamic, err = dynamic.NewForConfigAndClient(cfg, a.http)
	return a, err
}

// Close drops idle connections.
func (a *API) Close() { utilnet.CloseIdleConnectionsFor(a.http.Transport) }

// Ready asks the API server whether all of its start-up is done.
func (a *API) Ready(ctx context.Context) error {
	body, err := a.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(body))
	}
	return nil
}

// Apply sends every object of a YAML stream by server-side apply. Objects that
// need another one, such as a service account, come after it in the stream. It
// returns the namespaces of the objects.
func (a *API) Apply(ctx context.Context, stream []byte) (namespaces []string, err error) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(a.Discovery()))
	for dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096); ; {
		obj := &unstructured.Unstructured{}
		if err := dec.Decode(obj); errors.Is(err, io.EOF) {
			return namespaces, nil
		} else if err != nil {
			return namespaces, fmt.Errorf("decode manifest: %w", err)
		}
		if len(obj.Object) == 0 {
			continue
		}
		if err := applyOne(ctx, mapper, a.dynamic, obj); err != nil {
			return namespaces, fmt.Errorf("apply %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		if ns := obj.GetNamespace(); ns != "" && !slices.Contains(namespaces, ns) {
			namespaces = append(namespaces, ns)
		}
	}
}

func applyOne(ctx context.Context, mapper meta.RESTMapper, client dynamic.Interface, obj *unstructured.Unstructured) error {
	gvk := obj.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	var target dynamic.ResourceInterface = client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		target = client.Resource(mapping.Resource).Namespace(obj.GetNamespace())
	}
	data, err := obj.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	_, err = target.Patch(ctx, obj.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	return err
}

// WaitFor asks condition every 100 ms until it returns nil, or the timeout has
// passed; the error then holds the last answer.
func WaitFor(ctx context.Context, what string, timeout time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s after %s: %w", what, timeout, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// WaitAvailable waits until every Deployment of a namespace is available.
func (a *API) WaitAvailable(ctx context.Context, namespace string, timeout time.Duration) error {
	return WaitFor(ctx, "namespace "+namespace+" is not ready", timeout, func(ctx context.Context) error {
		list, err := a.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, d := range list.Items {
			if !available(&d) {
				return fmt.Errorf("deployment %s: %d of %d pods are available", d.Name, d.Status.AvailableReplicas, d.Status.Replicas)
			}
		}
		return nil
	})
}

func available(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= want && d.Status.AvailableReplicas >= want
}
