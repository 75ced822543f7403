package podlogs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// opener opens the log of a container. It is the seam between reading and HTTP.
type opener interface {
	// open returns the body of one request. Reading it ends with an error when
	// ctx ends. Errors are those of client-go (apierrors.StatusError and others).
	open(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error)
}

// apiOpener asks the API server.
type apiOpener struct{ core rest.Interface }

func (a apiOpener) open(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	return openLog(ctx, a.core, namespace, pod, o)
}

// newAPIOpener makes a client for log streams only, so that informers never
// wait behind log data, with windows that bound what a stalled stream can hold.
//
// Go's HTTP/2 client grants 4 MiB per stream by default: 500 stalled follows
// were measured to hold 1.15 GB, and 51 MB with 64 KiB.
func newAPIOpener(config *rest.Config) (opener, error) {
	cfg := rest.CopyConfig(config)
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("TLS settings of the API server connection for log streams: %w", err)
	}
	proxy := cfg.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	transport := &http.Transport{
		Proxy:               proxy,
		DialContext:         dial,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: 64 << 10,
			// A connection that died silently is noticed in 45 s: log streams
			// have no heartbeat of their own.
			SendPingTimeout: 30 * time.Second,
			PingTimeout:     15 * time.Second,
		},
	}
	wrapped, err := rest.HTTPWrappersForConfig(cfg, transport)
	if err != nil {
		return nil, fmt.Errorf("credentials of the API server connection for log streams: %w", err)
	}
	cfg.QPS = -1 // admission is ours, see limits
	core, err := newRESTClient(cfg, corev1.SchemeGroupVersion, &http.Client{Transport: wrapped})
	if err != nil {
		return nil, fmt.Errorf("client for log streams: %w", err)
	}
	return apiOpener{core: core}, nil
}

// openError is a request that brought no body.
type openError struct {
	kind openErrorKind
	err  error
}

type openErrorKind string

const (
	openWaiting     openErrorKind = "waiting"     // the container has not started, or the kubelet does not know it yet
	openGone        openErrorKind = "gone"        // the API server does not know the pod any more
	openForbidden   openErrorKind = "forbidden"   // RBAC
	openThrottled   openErrorKind = "throttled"   // 429
	openUnreachable openErrorKind = "unreachable" // the kubelet cannot be reached through the API server
	openFailed      openErrorKind = "failed"      // anything else, as a lost connection to the API server
)

var openErrorKinds = []openErrorKind{openWaiting, openGone, openForbidden, openThrottled, openUnreachable, openFailed}

func (e *openError) Error() string { return e.err.Error() }
func (e *openError) Unwrap() error { return e.err }

// classifyOpen sorts an error of opener.open (pod-log endpoint, errors before
// the first byte).
func classifyOpen(err error) error {
	kind := openFailed
	status := apierrors.APIStatus(nil)
	switch {
	case !errors.As(err, &status):
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		kind = openForbidden
	case apierrors.IsNotFound(err):
		// "pods x not found" is the API server's; the kubelet's own 404 ("pod
		// does not exist") has no details and is a race after scheduling.
		kind = openWaiting
		if d := status.Status().Details; d != nil && d.Kind == "pods" && d.Name != "" && !isGeneric(status) {
			kind = openGone
		}
	case apierrors.IsTooManyRequests(err):
		kind = openThrottled
	case apierrors.IsBadRequest(err):
		kind = openWaiting
	case status.Status().Code >= 500:
		kind = openUnreachable
	}
	return &openError{kind: kind, err: err}
}

// isGeneric says that the API server did not write the status: client-go made
// it up from a plain text answer of the kubelet.
func isGeneric(s apierrors.APIStatus) bool {
	for _, c := range s.Status().Details.Causes {
		if c.Type == "UnexpectedServerResponse" {
			return true
		}
	}
	return false
}
