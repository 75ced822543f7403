package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/rest"
)

const (
	apiserverName = "kube-apiserver"
	// etcdTimeout bounds the start of etcd, which needs a fraction of a second.
	etcdTimeout = 30 * time.Second
	// drainTimeout is how long a kube-apiserver that got SIGTERM may go on: with
	// a log stream open it would wait for a minute, which is the request
	// timeout, and a kubelet would kill it before.
	drainTimeout = 5 * time.Second
	// serviceRange is where ClusterIPs come from; its first address is in the
	// serving certificate although nothing routes it here.
	serviceRange, firstService = "10.96.0.0/16", "10.96.0.1"
)

// startEtcd runs etcd in this process. It does not sync to disk: a rig's data
// dies with it, and a start must be quick.
func (r *Rig) startEtcd(ctx context.Context) (string, error) {
	clientPort, err := freePort()
	if err != nil {
		return "", err
	}
	peerPort, err := freePort()
	if err != nil {
		return "", err
	}
	client := url.URL{Scheme: "http", Host: loopback(clientPort)}
	peer := url.URL{Scheme: "http", Host: loopback(peerPort)}
	cfg := embed.NewConfig()
	cfg.Name = "rig"
	cfg.Dir = filepath.Join(r.dir, "etcd")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{filepath.Join(r.dir, "logs", "etcd.log")}
	// One member elects itself; the shorter the tick, the sooner.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	if r.etcd, err = embed.StartEtcd(cfg); err != nil {
		return "", fmt.Errorf("etcd: %w", err)
	}
	timeout := time.NewTimer(etcdTimeout)
	defer timeout.Stop()
	select {
	case <-r.etcd.Server.ReadyNotify():
		return client.String(), nil
	case err := <-r.etcd.Err():
		return "", fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return "", fmt.Errorf("etcd: %w", ctx.Err())
	case <-timeout.C:
		return "", fmt.Errorf("etcd is not ready after %s", etcdTimeout)
	}
}

// prepareAPIServer makes certificates, the administrator's kubeconfig and the
// command line. The port stays the same over restarts.
func (r *Rig) prepareAPIServer(opts Options, etcdURL string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	r.address = loopback(port)
	serving, err := r.ca.Server("apiserver", "127.0.0.1", firstService, "localhost", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	kubelet, err := r.ca.Client("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	saPublic, saPrivate, err := r.ca.SigningKey("service-account")
	if err != nil {
		return err
	}
	args := []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// A loopback endpoint is refused by validation, and no pod needs it.
		"--endpoint-reconciler-type=none",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + serving.CertFile,
		"--tls-private-key-file=" + serving.KeyFile,
		"--client-ca-file=" + r.ca.CertFile(),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + saPublic,
		"--service-account-signing-key-file=" + saPrivate,
		// No controller makes the "default" accounts, and no pod here runs.
		"--disable-admission-plugins=ServiceAccount",
		"--kubelet-certificate-authority=" + r.ca.CertFile(),
		"--kubelet-client-certificate=" + kubelet.CertFile,
		"--kubelet-client-key=" + kubelet.KeyFile,
		// The node's name means nothing to DNS.
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true",
		"--profiling=false",
		// Restarts are tests here, not operations: do not wait for followers.
		"--shutdown-delay-duration=0s",
	}
	r.server = proc.Spec{
		Name: apiserverName, Path: opts.APIServer, Args: append(args, opts.APIServerArgs...),
		Dir: r.dir, Ready: r.ready, ReadyTimeout: 2 * time.Minute, StopTimeout: drainTimeout,
		DieWithParent: true,
	}
	return r.loadConfig()
}

// ready asks /readyz, which includes the bootstrap roles of RBAC, on a
// connection of its own: one of an earlier run would fail first.
func (r *Rig) ready(ctx context.Context) error {
	cfg, err := rest.TLSConfigFor(r.config)
	if err != nil {
		return err
	}
	t := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s", resp.Status)
	}
	return nil
}

// StartAPIServer starts kube-apiserver on the port it had before and waits until
// it is ready. One that runs is left alone.
func (r *Rig) StartAPIServer(ctx context.Context) error {
	if p, err := r.procs.Get(apiserverName); err != nil {
		return err
	} else if p == nil || !p.Alive() {
		// A process that was killed keeps its port until its last thread is gone,
		// which may be a moment after it has become a zombie.
		if err := awaitFreePort(ctx, r.address); err != nil {
			return err
		}
	}
	return r.procs.Start(ctx, r.server)
}

// StopAPIServer ends kube-apiserver: with SIGTERM it drains first (GOAWAY; open
// log streams go on for at most 5 seconds), with kill it is gone at once and
// every connection is reset.
func (r *Rig) StopAPIServer(ctx context.Context, kill bool) error {
	if kill {
		p, err := r.procs.Get(apiserverName)
		if err != nil {
			return err
		}
		if p != nil && p.Alive() {
			if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill %s: %w", apiserverName, err)
			}
		}
	}
	return r.procs.Stop(ctx, apiserverName)
}

// RestartAPIServer is [Rig.StopAPIServer] and [Rig.StartAPIServer].
func (r *Rig) RestartAPIServer(ctx context.Context, kill bool) error {
	if err := r.StopAPIServer(ctx, kill); err != nil {
		return err
	}
	return r.StartAPIServer(ctx)
}

// NewProxy returns a proxy in front of the API server, closed with the rig. Give
// its [Proxy.URL] to [Rig.ServiceAccount] to send a client through it.
func (r *Rig) NewProxy() (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := startProxy(ln, r.address)
	r.mu.Lock()
	r.proxies = append(r.proxies, p)
	r.mu.Unlock()
	return p, nil
}
