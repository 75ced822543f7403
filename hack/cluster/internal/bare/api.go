package bare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// api is a client of the cluster's API server, as administrator.
type api struct {
	kubernetes.Interface
	dynamic dynamic.Interface
	http    *http.Client
}

// openAPI makes a client from a kubeconfig; nothing is sent yet. The caller
// closes it.
func openAPI(kubeconfig string) (*api, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg.QPS, cfg.Burst = 100, 100
	cfg.Timeout = 10 * time.Second
	// The API is on this machine: a proxy of the environment cannot reach it.
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	a := &api{}
	if a.http, err = rest.HTTPClientFor(cfg); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if a.Interface, err = kubernetes.NewForConfigAndClient(cfg, a.http); err != nil {
		return nil, err
	}
	a.dynamic, err = dynamic.NewForConfigAndClient(cfg, a.http)
	return a, err
}

func (a *api) close() { utilnet.CloseIdleConnectionsFor(a.http.Transport) }

// ready asks the API server whether all of its start-up is done.
func (a *api) ready(ctx context.Context) error {
	body, err := a.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(body))
	}
	return nil
}

// apply sends every object of a YAML stream by server-side apply. Objects that
// need another one, such as a Service account, come after it in the stream.
func (a *api) apply(ctx context.Context, stream []byte) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(a.Discovery()))
	for dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096); ; {
		obj := &unstructured.Unstructured{}
		if err := dec.Decode(obj); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("decode manifest: %w", err)
		}
		if len(obj.Object) == 0 {
			continue
		}
		if err := applyOne(ctx, mapper, a.dynamic, obj); err != nil {
			return fmt.Errorf("apply %s %s: %w", obj.GetKind(), obj.GetName(), err)
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

// waitFor asks condition every 100 ms until it returns nil, or the timeout has
// passed; the error then holds the last answer.
func waitFor(ctx context.Context, what string, timeout time.Duration, condition func(context.Context) error) error {
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

// nodeReady returns nil once the node is ready and takes pods.
func (a *api) nodeReady(ctx context.Context) error {
	node, err := a.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, t := range node.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			return fmt.Errorf("node has the taint %s", t.Key)
		}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return nil
			}
			return errors.New(c.Message)
		}
	}
	return errors.New("the kubelet has not reported yet")
}

// dnsReady returns nil once CoreDNS answers.
func (a *api) dnsReady(ctx context.Context) error {
	d, err := a.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if d.Status.ReadyReplicas > 0 && d.Status.ObservedGeneration >= d.Generation {
		return nil
	}
	pods, err := a.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if w := s.State.Waiting; w != nil && w.Message != "" {
				return fmt.Errorf("pod %s: %s: %s", p.Name, w.Reason, w.Message)
			}
		}
	}
	return fmt.Errorf("%d pods, none is ready", len(pods.Items))
}
