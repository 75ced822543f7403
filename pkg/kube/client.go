package kube

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// FieldManager is the name under which server-side apply owns our fields.
const FieldManager = "kubectl-logstack"

// client-go's defaults (5 requests/s, burst 10) make a command that lists a
// dozen kinds wait for itself.
const (
	clientQPS   = 50
	clientBurst = 100
)

// Client holds the connections of one command to one cluster. Its fields are
// safe for concurrent use; tests fill them with client-go's fakes.
type Client struct {
	Config    *rest.Config
	Kube      kubernetes.Interface
	Dynamic   dynamic.Interface
	Mapper    meta.RESTMapper
	Namespace string // of the kubeconfig context or --namespace
	Context   string // name of the kubeconfig context, for messages
}

// NewClient reads kubeconfig and flags. It sends no request: an unreachable
// cluster shows at the first use. A missing kubeconfig is a *ClusterError.
func NewClient(flags *genericclioptions.ConfigFlags) (*Client, error) {
	cfg, err := flags.ToRESTConfig()
	if err != nil {
		var known *ClusterError
		if err = Explain(err); errors.As(err, &known) {
			return nil, err
		}
		return nil, &ClusterError{Cause: "the kubeconfig cannot be used: " + err.Error(), Fix: "look at it: kubectl config view --minify", Err: err}
	}
	if err := requireConfig(flags); err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = clientQPS, clientBurst
	kc, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	mapper, err := flags.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	loader := flags.ToRawKubeConfigLoader()
	ns, _, err := loader.Namespace()
	if err != nil {
		return nil, Explain(err)
	}
	c := &Client{Config: cfg, Kube: kc, Dynamic: dyn, Mapper: mapper, Namespace: ns}
	if raw, err := loader.RawConfig(); err == nil {
		c.Context = raw.CurrentContext
		if flags.Context != nil && *flags.Context != "" {
			c.Context = *flags.Context
		}
	}
	return c, nil
}

// requireConfig refuses client-go's last resort, http://localhost:8080, which
// nobody means: its "connection refused" would hide that there is no kubeconfig.
func requireConfig(flags *genericclioptions.ConfigFlags) error {
	if flags.APIServer != nil && *flags.APIServer != "" {
		return nil
	}
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return Explain(err)
	}
	if len(raw.Clusters) > 0 {
		return nil
	}
	if _, err := rest.InClusterConfig(); err == nil {
		return nil
	}
	return Explain(clientcmd.ErrEmptyConfig)
}

// ClusterError is a failure to reach or to be let into the cluster, with what
// to do about it.
type ClusterError struct {
	Cause string // what happened, one line
	Fix   string // what to do, one line
	Err   error
}

func (e *ClusterError) Error() string { return e.Cause + "\n  " + e.Fix }

// Unwrap returns the client's own error.
func (e *ClusterError) Unwrap() error { return e.Err }

// Explain turns the client's errors that a person meets most into a
// *ClusterError; any other error comes back as it was.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	var known *ClusterError
	if errors.As(err, &known) {
		return err
	}
	wrap := func(cause, fix string) error { return &ClusterError{Cause: cause, Fix: fix, Err: err} }
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		file    *fs.PathError
	)
	msg := err.Error()
	switch {
	case clientcmd.IsEmptyConfig(err) || strings.Contains(msg, "no configuration has been provided"):
		return wrap("no kubeconfig found", "set KUBECONFIG or pass --kubeconfig FILE (kubectl config view shows what kubectl uses)")
	case errors.As(err, &file) && errors.Is(err, fs.ErrNotExist):
		return wrap("no such file: "+file.Path, "check --kubeconfig, KUBECONFIG, and the files that the kubeconfig names")
	case clientcmd.IsContextNotFound(err) || strings.Contains(msg, "does not exist") && strings.Contains(msg, "context"):
		return wrap(msg, "kubectl config get-contexts lists the contexts there are")
	case apierrors.IsUnauthorized(err):
		return wrap("the API server does not accept your credentials (401)", "log in again, or check the user of the kubeconfig context: kubectl auth whoami")
	case apierrors.IsForbidden(err):
		return wrap("not allowed: "+msg, "ask for this right, or check who you are: kubectl auth whoami")
	case errors.As(err, &dns):
		return wrap(fmt.Sprintf("the API server's name %q does not resolve", dns.Name), "check the server address of the kubeconfig context: kubectl config view --minify")
	case errors.As(err, &unknown), errors.As(err, &host):
		return wrap("the API server's certificate is not trusted: "+msg, "check certificate-authority-data of the kubeconfig context")
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return wrap("the API server did not answer in time: "+msg, "check the network and the server address: kubectl config view --minify")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(msg, "connection refused"), strings.Contains(msg, "no route to host"), strings.Contains(msg, "network is unreachable"):
		return wrap("cannot reach the API server: "+msg, "is the cluster running, and is this the right context? kubectl config current-context")
	}
	return err
}

// IsTransient says whether an error may pass by itself: an API server that is
// restarted, overloaded or cut off.
func IsTransient(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &op) || errors.As(err, &dns) || isTimeout(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
