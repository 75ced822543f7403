package bare

import (
	"context"
	"crypto/tls"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/pki"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"
)

// credentials issues every certificate and kubeconfig, reusing those on disk.
func (s *starter) credentials() error {
	ca, err := pki.Open(s.p.pki())
	if err != nil {
		return err
	}
	s.ca = ca
	for name, hosts := range map[string][]string{
		"etcd": {"127.0.0.1", "localhost"},
		"apiserver": {
			"127.0.0.1", NodeIP, ServiceIP, "localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
		},
		"kubelet-server":     {NodeIP, "127.0.0.1", NodeName},
		"controller-manager": {"127.0.0.1"},
		"scheduler":          {"127.0.0.1"},
	} {
		if _, err := ca.Server(name, hosts...); err != nil {
			return err
		}
	}
	for name, u := range map[string]struct{ user, group string }{
		"apiserver-etcd":    {"kube-apiserver", "etcd"},
		"apiserver-kubelet": {"kube-apiserver-kubelet-client", "system:masters"},
	} {
		if _, err := ca.Client(name, u.user, u.group); err != nil {
			return err
		}
	}
	if _, _, err := ca.SigningKey("service-account"); err != nil {
		return err
	}
	for name, u := range map[string]struct{ user, group, path string }{
		"admin":                     {"admin", "system:masters", s.p.kubeconfig()},
		"client-controller-manager": {"system:kube-controller-manager", "", s.p.conf("controller-manager.kubeconfig")},
		"client-scheduler":          {"system:kube-scheduler", "", s.p.conf("scheduler.kubeconfig")},
		"client-proxy":              {"system:kube-proxy", "", s.p.conf("kube-proxy.kubeconfig")},
		"client-kubelet":            {"system:node:" + NodeName, "system:nodes", s.p.conf("kubelet.kubeconfig")},
		// The provisioner writes volumes and runs outside of the cluster, where
		// no service account reaches: it is an administrator.
		"client-provisioner": {"logstack:provisioner", "system:masters", s.p.conf("provisioner.kubeconfig")},
	} {
		var groups []string
		if u.group != "" {
			groups = []string{u.group}
		}
		pair, err := ca.Client(name, u.user, groups...)
		if err != nil {
			return err
		}
		if err := ca.WriteKubeconfig(u.path, "logstack", apiURL(), pair); err != nil {
			return err
		}
	}
	return nil
}

func (s *starter) crt(name string) string { return filepath.Join(s.p.pki(), name+".crt") }
func (s *starter) key(name string) string { return filepath.Join(s.p.pki(), name+".key") }

// spec starts a program of our own build. Proxies of the environment would come
// between parts that are on one machine.
func (s *starter) spec(name string, ready func(context.Context) error, args ...string) proc.Spec {
	env := []string{"HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=", "ALL_PROXY=", "all_proxy="}
	return proc.Spec{Name: name, Path: s.programs[name], Args: args, Env: env, Dir: s.p.root, Ready: ready}
}

func (s *starter) etcd() proc.Spec {
	client, peer := "https://"+hostPort("127.0.0.1", etcdPort), "https://"+hostPort("127.0.0.1", etcdPeerPort)
	ready := func(ctx context.Context) error {
		cert, err := tls.LoadX509KeyPair(s.crt("apiserver-etcd"), s.key("apiserver-etcd"))
		if err != nil {
			return err
		}
		return get(client+"/health", s.ca.Pool(), &cert)(ctx)
	}
	return s.spec(binaries.Etcd, ready,
		"--name=logstack",
		"--data-dir="+s.p.in("etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=logstack="+peer,
		"--cert-file="+s.crt("etcd"), "--key-file="+s.key("etcd"),
		"--trusted-ca-file="+s.ca.CertFile(), "--client-cert-auth",
		"--peer-cert-file="+s.crt("etcd"), "--peer-key-file="+s.key("etcd"),
		"--peer-trusted-ca-file="+s.ca.CertFile(), "--peer-client-cert-auth",
		// The cluster is thrown away after a crash: durability would only cost time.
		"--unsafe-no-fsync",
		"--log-level=warn",
	)
}

func (s *starter) apiServer() proc.Spec {
	return s.spec(binaries.APIServer, s.api.Ready,
		"--bind-address="+NodeIP, "--advertise-address="+NodeIP, fmt.Sprintf("--secure-port=%d", apiPort),
		"--etcd-servers=https://"+hostPort("127.0.0.1", etcdPort),
		"--etcd-cafile="+s.ca.CertFile(), "--etcd-certfile="+s.crt("apiserver-etcd"), "--etcd-keyfile="+s.key("apiserver-etcd"),
		"--client-ca-file="+s.ca.CertFile(), "--tls-cert-file="+s.crt("apiserver"), "--tls-private-key-file="+s.key("apiserver"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction,PodSecurity",
		"--allow-privileged=true",
		"--service-cluster-ip-range="+serviceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc."+clusterDomain,
		"--service-account-key-file="+filepath.Join(s.p.pki(), "service-account.pub"),
		"--service-account-signing-key-file="+s.key("service-account"),
		"--kubelet-client-certificate="+s.crt("apiserver-kubelet"), "--kubelet-client-key="+s.key("apiserver-kubelet"),
		"--kubelet-certificate-authority="+s.ca.CertFile(),
		// Else the API server looks the node's name up in DNS, and every log request fails.
		"--kubelet-preferred-address-types=InternalIP",
	)
}

func (s *starter) controllerManager() proc.Spec {
	kubeconfig := s.p.conf("controller-manager.kubeconfig")
	return s.spec(binaries.ControllerManager, get("https://"+hostPort("127.0.0.1", managerPort)+"/healthz", s.ca.Pool(), nil),
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", managerPort),
		"--tls-cert-file="+s.crt("controller-manager"), "--tls-private-key-file="+s.key("controller-manager"),
		"--use-service-account-credentials", "--root-ca-file="+s.ca.CertFile(),
		"--service-account-private-key-file="+s.key("service-account"),
		"--cluster-signing-cert-file="+s.ca.CertFile(), "--cluster-signing-key-file="+s.ca.KeyFile(),
		"--cluster-cidr="+PodCIDR, "--allocate-node-cidrs", "--node-cidr-mask-size=16", "--service-cluster-ip-range="+serviceCIDR,
		"--leader-elect=false",
		"--flex-volume-plugin-dir="+s.p.in("kubelet", "plugins-exec"),
	)
}

func (s *starter) scheduler() proc.Spec {
	kubeconfig := s.p.conf("scheduler.kubeconfig")
	return s.spec(binaries.Scheduler, get("https://"+hostPort("127.0.0.1", schedulerPort)+"/healthz", s.ca.Pool(), nil),
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", schedulerPort),
		"--tls-cert-file="+s.crt("scheduler"), "--tls-private-key-file="+s.key("scheduler"),
		"--leader-elect=false",
	)
}

func (s *starter) provisioner() proc.Spec {
	return s.spec(binaries.Provisioner, nil,
		"--kubeconfig="+s.p.conf("provisioner.kubeconfig"), "--dir="+s.p.volumes(),
		"--node="+NodeName, "--name="+provisionerName,
	)
}

// containerd keeps PATH: it looks for runc and its shim there.
func (s *starter) containerd() proc.Spec {
	path, err := exec.LookPath(containerdName)
	if err != nil {
		path = containerdName // starting it tells that it is missing
	}
	spec := s.spec(containerdName, s.runtimeReady, "--config", s.p.conf("containerd.toml"))
	spec.Path = path
	return spec
}

func (s *starter) kubelet() proc.Spec {
	return s.spec(binaries.Kubelet, get(fmt.Sprintf("http://127.0.0.1:%d/healthz", kubeletHealth), nil, nil),
		"--config="+s.p.conf("kubelet.yaml"), "--kubeconfig="+s.p.conf("kubelet.kubeconfig"),
		"--root-dir="+s.p.in("kubelet"), "--cert-dir="+s.p.in("kubelet", "pki"),
		"--hostname-override="+NodeName, "--node-ip="+NodeIP,
	)
}

func (s *starter) kubeProxy() proc.Spec {
	return s.spec(binaries.KubeProxy, get(fmt.Sprintf("http://127.0.0.1:%d/healthz", proxyHealth), nil, nil),
		"--config="+s.p.conf("kube-proxy.yaml"))
}
