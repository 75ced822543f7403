package bare

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/kube"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/pki"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"
)

const containerdName = "containerd"

// components are the programs of our own build that must be running.
var components = []string{
	binaries.Etcd, binaries.APIServer, binaries.ControllerManager, binaries.Scheduler,
	binaries.Kubelet, binaries.KubeProxy, binaries.Provisioner,
}

// Bounds of the waits that are not a process's own.
const (
	nodeTimeout = 90 * time.Second
	dnsTimeout  = 90 * time.Second
	// portsTimeout is short: a port that another program has is not given back.
	portsTimeout = 3 * time.Second
)

// starter carries what the steps of one start share.
type starter struct {
	*Cluster
	m        *proc.Manager
	programs map[string]string
	ca       *pki.Authority
	api      *kube.API
}

// start brings every part up, in order, skipping what runs already.
func (c *Cluster) start(ctx context.Context, m *proc.Manager, programs map[string]string, archives []string) error {
	fresh, err := c.isFresh(m)
	if err != nil {
		return err
	}
	if fresh {
		// A process that was just killed holds its ports until the last of its
		// threads has ended, a moment after its pid looks dead.
		if err := kube.WaitFor(ctx, "not all ports are free", portsTimeout, func(context.Context) error { return checkPorts() }); err != nil {
			return err
		}
	}
	if err := c.remember(); err != nil {
		return err
	}
	facts, err := gatherFacts(c.p)
	if err != nil {
		return err
	}
	if err := networkUp(ctx); err != nil {
		return err
	}
	if err := c.writeConfig(facts); err != nil {
		return err
	}
	s := &starter{Cluster: c, m: m, programs: programs}
	if err := s.credentials(); err != nil {
		return err
	}
	if s.api, err = kube.Open(c.Kubeconfig(), true); err != nil {
		return err
	}
	defer s.api.Close()
	// The runtime and its images need no API: they come up beside it.
	runtimeUp := make(chan error, 1)
	if err := m.Launch(s.containerd()); err != nil {
		return err
	}
	go func() { runtimeUp <- s.runtime(ctx, archives) }()
	err = s.controlPlane(ctx)
	if err := errors.Join(err, <-runtimeUp); err != nil {
		return err
	}
	return s.node(ctx)
}

// isFresh reports that no process of the cluster runs yet.
func (c *Cluster) isFresh(m *proc.Manager) (bool, error) {
	all, err := m.List()
	for _, p := range all {
		if p.Alive() {
			return false, err
		}
	}
	return true, err
}

// runtime waits for containerd and imports the images.
func (s *starter) runtime(ctx context.Context, archives []string) error {
	begin := time.Now()
	if err := s.m.WaitReady(ctx, s.containerd()); err != nil {
		return err
	}
	s.printf("containerd ready %s", time.Since(begin).Round(100*time.Millisecond))
	return s.loadOwn(ctx, archives)
}

func (s *starter) controlPlane(ctx context.Context) error {
	if err := s.m.Start(ctx, s.etcd()); err != nil {
		return err
	}
	if err := s.m.Start(ctx, s.apiServer()); err != nil {
		return err
	}
	specs := []proc.Spec{s.controllerManager(), s.scheduler(), s.provisioner()}
	return s.launchAll(ctx, specs)
}

// node starts what runs pods, and waits until pods run.
func (s *starter) node(ctx context.Context) error {
	if err := s.launchAll(ctx, []proc.Spec{s.kubelet(), s.kubeProxy()}); err != nil {
		return err
	}
	// Before the node is ready, so that its first pods are scheduled at once.
	addons, err := render("addons.yaml", newValues(s.p, hostFacts{ResolvConf: usableResolvConf()}))
	if err != nil {
		return err
	}
	if err := kube.WaitFor(ctx, "addons not applied", nodeTimeout, func(ctx context.Context) error {
		_, err := s.api.Apply(ctx, addons)
		return err
	}); err != nil {
		return err
	}
	begin := time.Now()
	err = kube.WaitFor(ctx, "node is not ready", nodeTimeout, func(ctx context.Context) error { return nodeReady(ctx, s.api) })
	if err != nil {
		return fmt.Errorf("%w\nthe end of %s:\n%s", err, s.m.LogFile(binaries.Kubelet), s.m.Tail(binaries.Kubelet))
	}
	s.printf("node ready %s", time.Since(begin).Round(100*time.Millisecond))
	begin = time.Now()
	err = kube.WaitFor(ctx, "CoreDNS is not ready", dnsTimeout, func(ctx context.Context) error { return dnsReady(ctx, s.api) })
	if err != nil {
		return fmt.Errorf("%w\nthe end of %s:\n%s", err, s.m.LogFile(binaries.Kubelet), s.m.Tail(binaries.Kubelet))
	}
	s.printf("CoreDNS ready %s", time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// launchAll starts specs side by side, then waits for each.
func (s *starter) launchAll(ctx context.Context, specs []proc.Spec) error {
	begin := time.Now()
	for _, spec := range specs {
		if err := s.m.Launch(spec); err != nil {
			return err
		}
	}
	for _, spec := range specs {
		if err := s.m.WaitReady(ctx, spec); err != nil {
			return err
		}
		s.printf("%s ready %s", spec.Name, time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

// get returns a readiness check that asks a health endpoint.
func get(url string, roots *x509.CertPool, cert *tls.Certificate) func(context.Context) error {
	return func(ctx context.Context) error {
		cfg := &tls.Config{RootCAs: roots}
		if cert != nil {
			cfg.Certificates = []tls.Certificate{*cert}
		}
		tr := &http.Transport{TLSClientConfig: cfg}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, resp.Status)
		}
		return nil
	}
}
