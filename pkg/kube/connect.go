package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Service names a port of a Service.
type Service struct {
	Namespace, Name string
	// Port is the port's name or number as the Service spells it.
	Port string
}

// String is namespace/name:port.
func (s Service) String() string { return s.Namespace + "/" + s.Name + ":" + s.Port }

// Way is how a Connection reaches its Service.
type Way string

// The ways, in the order in which Connect tries them.
const (
	ViaServiceProxy Way = "service proxy"
	ViaPortForward  Way = "port-forward"
)

// Connection reaches an HTTP service inside the cluster.
type Connection struct {
	// HTTP carries the credentials of the kubeconfig where the way needs them.
	// It has no overall timeout: live tails last.
	HTTP *http.Client
	// BaseURL is the root of the service, without a trailing slash.
	BaseURL string
	Via     Way
	// Note says why a later way was taken; empty for the first.
	Note  string
	close func()
}

// Close ends a port-forward. Safe twice.
func (c *Connection) Close() {
	if c.close != nil {
		c.close()
	}
}

// NoEndpointsError says that a Service exists and no pod stands behind it.
type NoEndpointsError struct{ Service Service }

func (e *NoEndpointsError) Error() string {
	return fmt.Sprintf("Service %s/%s has no ready pod behind it\n  look at it: kubectl logstack status -n %[1]s", e.Service.Namespace, e.Service.Name)
}

// NoServiceError says that the Service does not exist.
type NoServiceError struct{ Service Service }

func (e *NoServiceError) Error() string {
	return fmt.Sprintf("there is no Service %s in namespace %s\n  install it (kubectl logstack install), or name another one (--service NAMESPACE/NAME, --addr URL)", e.Service.Name, e.Service.Namespace)
}

// probeTimeout bounds each probe of Connect: a control plane that cannot reach
// the pod network only times out, and the port-forward should get its turn
// before a person gives up.
const probeTimeout = 5 * time.Second

// Connect finds a way to the Service: the API server's service proxy (no local
// port, one HTTP client, any kubeconfig), else a port-forward to one of its
// pods. readyPath is requested to see whether a way works; any answer from the
// service itself, also an error status, means that it does.
func (c *Client) Connect(ctx context.Context, svc Service, readyPath string) (*Connection, error) {
	conn, err := c.connectProxy(ctx, svc, readyPath)
	if err == nil {
		return conn, nil
	}
	var tryNext *wayError
	if !errors.As(err, &tryNext) {
		return nil, err
	}
	fwd, ferr := c.connectForward(ctx, svc, readyPath)
	if ferr != nil {
		return nil, fmt.Errorf("no way to Service %s:\n  %s: %w\n  %s: %w", svc, ViaServiceProxy, err, ViaPortForward, ferr)
	}
	fwd.Note = fmt.Sprintf("using a port-forward (%s: %v)", ViaServiceProxy, err)
	return fwd, nil
}

// wayError is a failure of the way, not of the service: another way may work.
type wayError struct{ err error }

func (e *wayError) Error() string { return e.err.Error() }
func (e *wayError) Unwrap() error { return e.err }

func (c *Client) connectProxy(ctx context.Context, svc Service, readyPath string) (*Connection, error) {
	conn, err := c.connectProxyBy(ctx, "http", svc, readyPath)
	if errors.Is(err, errSpeaksTLS) {
		// The API server takes any certificate of a pod: its way there is its own.
		return c.connectProxyBy(ctx, "https", svc, readyPath)
	}
	return conn, err
}

// errSpeaksTLS is for a service that was asked in plain text.
var errSpeaksTLS = errors.New("the service speaks TLS")

// speaksTLS recognises what Go's server answers to plain text on a TLS port.
func speaksTLS(code int, body string) bool {
	return code == http.StatusBadRequest && strings.Contains(body, "HTTP request to an HTTPS server")
}

func (c *Client) connectProxyBy(ctx context.Context, scheme string, svc Service, readyPath string) (*Connection, error) {
	hc, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		return nil, err
	}
	hc.Timeout = 0
	base, err := serverURL(c.Config)
	if err != nil {
		return nil, err
	}
	root := fmt.Sprintf("%s/api/v1/namespaces/%s/services/%s:%s:%s/proxy", base, url.PathEscape(svc.Namespace), scheme, url.PathEscape(svc.Name), url.PathEscape(svc.Port))
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(probe, http.MethodGet, root+readyPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := hc.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if isTimeout(err) {
			return nil, &wayError{fmt.Errorf("no answer within %s", probeTimeout)}
		}
		return nil, Explain(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, &wayError{err}
	}
	if scheme == "http" && speaksTLS(resp.StatusCode, string(body)) {
		return nil, errSpeaksTLS
	}
	if err := classifyProxyAnswer(resp, string(body), svc); err != nil {
		return nil, err
	}
	return &Connection{HTTP: hc, BaseURL: root, Via: ViaServiceProxy}, nil
}

// classifyProxyAnswer tells the API server's own refusals from the service's
// answers: its are Status objects, the service's never are.
func classifyProxyAnswer(resp *http.Response, body string, svc Service) error {
	fromAPIServer := strings.Contains(body, `"kind":"Status"`) || strings.Contains(body, `"kind": "Status"`)
	switch {
	case resp.StatusCode < 400:
		return nil
	case resp.StatusCode == http.StatusUnauthorized && fromAPIServer:
		return Explain(apierrors.NewUnauthorized("unauthorized"))
	case resp.StatusCode == http.StatusForbidden && fromAPIServer:
		return &wayError{fmt.Errorf("you may not get services/proxy %q in namespace %s", "http:"+svc.Name+":"+svc.Port, svc.Namespace)}
	case resp.StatusCode == http.StatusNotFound && fromAPIServer:
		return &NoServiceError{svc}
	case strings.Contains(body, "no endpoints available for service"):
		return &NoEndpointsError{svc}
	case fromAPIServer, strings.Contains(body, "error trying to reach service"):
		return &wayError{fmt.Errorf("the API server cannot reach the pod (%d)", resp.StatusCode)}
	}
	return nil
}

func serverURL(cfg *rest.Config) (string, error) {
	u, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// connectForward forwards a free local port to a ready pod of the Service.
func (c *Client) connectForward(ctx context.Context, svc Service, readyPath string) (*Connection, error) {
	pod, port, err := c.backend(ctx, svc)
	if err != nil {
		return nil, err
	}
	return c.ConnectPod(ctx, svc.Namespace, pod, port, readyPath)
}

// ConnectPod forwards a free local port to a port of one pod. readyPath is
// requested to see whether it speaks TLS.
func (c *Client) ConnectPod(ctx context.Context, namespace, pod string, port int, readyPath string) (*Connection, error) {
	dialer, err := c.forwardDialer(namespace, pod)
	if err != nil {
		return nil, err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	pf, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	var forwardErr error
	go func() {
		defer close(done)
		forwardErr = pf.ForwardPorts()
	}()
	halt := sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	select {
	case <-ready:
	case <-done:
		return nil, Explain(forwardErr)
	case <-ctx.Done():
		halt()
		return nil, ctx.Err()
	}
	ports, err := pf.GetPorts()
	if err != nil {
		halt()
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
	hc, base := forwardClient(ctx, address, readyPath)
	return &Connection{HTTP: hc, BaseURL: base, Via: ViaPortForward, close: halt}, nil
}

// forwardClient finds out whether TLS is spoken at the end of a port-forward. It
// does not check the certificate then, as the service proxy does not: the tunnel
// ends inside of the pod, and no certificate has the name 127.0.0.1.
func forwardClient(ctx context.Context, address, readyPath string) (hc *http.Client, base string) {
	hc, base = &http.Client{}, "http://"+address
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(probe, http.MethodGet, base+readyPath, nil)
	if err != nil {
		return hc, base
	}
	resp, err := hc.Do(req)
	if err != nil {
		return hc, base // the first question will say it
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil || !speaksTLS(resp.StatusCode, string(body)) {
		return hc, base
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	return &http.Client{Transport: transport}, "https://" + address
}

// forwardDialer prefers WebSocket and falls back to SPDY as kubectl does: old
// servers speak only the latter, some load balancers only the former.
func (c *Client) forwardDialer(namespace, pod string) (httpstream.Dialer, error) {
	u := c.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	rt, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return nil, err
	}
	spdyDialer := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: rt}, http.MethodPost, u)
	ws, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, c.Config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(ws, spdyDialer, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// backend picks a ready pod of the Service and the pod's port number.
func (c *Client) backend(ctx context.Context, svc Service) (pod string, port int, err error) {
	s, err := c.Kube.CoreV1().Services(svc.Namespace).Get(ctx, svc.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", 0, &NoServiceError{svc}
	}
	if err != nil {
		return "", 0, Explain(err)
	}
	sp, ok := findPort(s, svc.Port)
	if !ok {
		return "", 0, fmt.Errorf("Service %s/%s has no port %q", svc.Namespace, svc.Name, svc.Port)
	}
	if len(s.Spec.Selector) == 0 {
		return "", 0, fmt.Errorf("Service %s/%s selects no pods: a port-forward needs one", svc.Namespace, svc.Name)
	}
	pods, err := c.Kube.CoreV1().Pods(svc.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(s.Spec.Selector).String()})
	if err != nil {
		return "", 0, Explain(err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp == nil && podReady(p) {
			return p.Name, targetPort(p, sp), nil
		}
	}
	return "", 0, &NoEndpointsError{svc}
}

func findPort(s *corev1.Service, want string) (corev1.ServicePort, bool) {
	for _, p := range s.Spec.Ports {
		if p.Name == want || strconv.Itoa(int(p.Port)) == want {
			return p, true
		}
	}
	return corev1.ServicePort{}, false
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// targetPort resolves a named target port through the pod's containers.
func targetPort(p *corev1.Pod, sp corev1.ServicePort) int {
	if n := sp.TargetPort.IntValue(); n != 0 {
		return n
	}
	for _, c := range p.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == sp.TargetPort.StrVal {
				return int(cp.ContainerPort)
			}
		}
	}
	return int(sp.Port)
}
