package rig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/pki"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options of [Start].
type Options struct {
	// Dir takes every file of the rig. It must be writable; what an earlier rig
	// left there is used again (certificates) or removed (data, processes).
	Dir string
	// APIServer is the kube-apiserver program; empty means the one in the build
	// cache, built if need be, which takes minutes the first time.
	APIServer string
	// APIServerArgs are added to the command line of kube-apiserver.
	APIServerArgs []string
	// Log receives progress, such as "kube-apiserver ready 3.1s"; nil discards it.
	Log io.Writer
}

// Rig is a running API server with its nodes and pods. Its methods may be called
// from several goroutines, except that stopping, starting and restarting of the
// API server exclude each other.
type Rig struct {
	dir     string
	log     io.Writer
	ca      *pki.Authority
	etcd    *embed.Etcd
	procs   *proc.Manager
	server  proc.Spec
	address string // host:port of the API server
	client  kubernetes.Interface
	config  *rest.Config
	started time.Duration

	kubeletCert, untrustedCert tls.Certificate
	callers                    *x509.CertPool

	mu         sync.Mutex
	nodes      []*Node
	pods       map[*Pod]struct{}
	proxies    []*Proxy
	namespaces map[string]bool
}

// Start starts a rig. It takes a few seconds; ctx bounds the start only. When it
// fails, everything that had been started is stopped again.
func Start(ctx context.Context, opts Options) (*Rig, error) {
	begin := time.Now()
	if opts.Dir == "" {
		return nil, errors.New("rig: Options.Dir is empty")
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	r := &Rig{dir: dir, log: opts.Log, pods: map[*Pod]struct{}{}, namespaces: map[string]bool{}}
	if err := r.start(ctx, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("rig: %w", err), r.Stop())
	}
	r.started = time.Since(begin)
	return r, nil
}

func (r *Rig) start(ctx context.Context, opts Options) error {
	if opts.APIServer == "" {
		cache, err := binaries.Open("", opts.Log)
		if err != nil {
			return err
		}
		if opts.APIServer, err = cache.Build(ctx, binaries.APIServer); err != nil {
			return err
		}
	}
	var err error
	if r.procs, err = proc.NewManager(r.dir, opts.Log); err != nil {
		return err
	}
	if err := r.procs.StopAll(ctx); err != nil { // left by a rig that was killed
		return err
	}
	for _, d := range []string{"etcd", "pods"} {
		if err := os.RemoveAll(filepath.Join(r.dir, d)); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	if r.ca, err = pki.Open(filepath.Join(r.dir, "pki")); err != nil {
		return err
	}
	if err := r.loadKubeletCertificates(); err != nil {
		return err
	}
	etcdURL, err := r.startEtcd(ctx)
	if err != nil {
		return err
	}
	if err := r.prepareAPIServer(opts, etcdURL); err != nil {
		return err
	}
	return r.StartAPIServer(ctx)
}

// loadKubeletCertificates gives all kubelets one serving certificate: they all
// listen on 127.0.0.1. The second one is signed by an authority that the API
// server does not know.
func (r *Rig) loadKubeletCertificates() error {
	foreign, err := pki.Open(filepath.Join(r.dir, "pki", "foreign"))
	if err != nil {
		return err
	}
	for _, c := range []struct {
		ca  *pki.Authority
		out *tls.Certificate
	}{{r.ca, &r.kubeletCert}, {foreign, &r.untrustedCert}} {
		pair, err := c.ca.Server("kubelet", "127.0.0.1")
		if err != nil {
			return err
		}
		if *c.out, err = tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile); err != nil {
			return fmt.Errorf("kubelet certificate: %w", err)
		}
	}
	r.callers = r.ca.Pool()
	return nil
}

// Stop stops everything and closes every pod's log. Files stay in the
// directory. It may be called more than once.
func (r *Rig) Stop() error {
	r.mu.Lock()
	nodes, proxies, pods := r.nodes, r.proxies, r.pods
	r.nodes, r.proxies, r.pods = nil, nil, map[*Pod]struct{}{}
	r.mu.Unlock()
	var errs []error
	for _, p := range proxies {
		errs = append(errs, p.Close())
	}
	for p := range pods {
		errs = append(errs, p.close())
	}
	for _, n := range nodes {
		errs = append(errs, n.Kubelet.Stop())
	}
	if r.procs != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs = append(errs, r.procs.StopAll(ctx))
	}
	if r.etcd != nil {
		r.etcd.Close()
		r.etcd = nil
	}
	if r.config != nil {
		closeIdle(r.config)
	}
	return errors.Join(errs...)
}

// closeIdle ends the connections of the rig's own client, so that no goroutine
// outlives the rig.
func closeIdle(cfg *rest.Config) {
	if t, err := rest.TransportFor(cfg); err == nil {
		if c, ok := t.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

// Client is a client with the rights of a cluster administrator and no rate
// limit.
func (r *Rig) Client() kubernetes.Interface { return r.client }

// Config returns a copy of the administrator's client configuration.
func (r *Rig) Config() *rest.Config { return rest.CopyConfig(r.config) }

// Kubeconfig is the path of the administrator's kubeconfig.
func (r *Rig) Kubeconfig() string { return filepath.Join(r.dir, "admin.kubeconfig") }

// Dir is the rig's directory.
func (r *Rig) Dir() string { return r.dir }

// URL is the API server's own address, without a proxy.
func (r *Rig) URL() string { return "https://" + r.address }

// StartupTime is how long [Start] took.
func (r *Rig) StartupTime() time.Duration { return r.started }

func (r *Rig) loadConfig() error {
	admin, err := r.ca.Client("admin", "rig-admin", "system:masters")
	if err != nil {
		return err
	}
	if err := r.ca.WriteKubeconfig(r.Kubeconfig(), "rig", r.URL(), admin); err != nil {
		return err
	}
	if r.config, err = clientcmd.BuildConfigFromFlags("", r.Kubeconfig()); err != nil {
		return fmt.Errorf("admin kubeconfig: %w", err)
	}
	r.config.QPS = -1
	r.config.UserAgent = "rig"
	r.client, err = kubernetes.NewForConfig(r.config)
	return err
}
