package bare

import (
	"bytes"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/images"
)

// Addresses of the cluster; see the package comment.
const (
	NodeName  = "logstack"
	NodeIP    = "10.245.0.1"
	PodCIDR   = "10.244.0.0/16"
	ServiceIP = "10.96.0.1"
	DNSIP     = "10.96.0.10"

	serviceCIDR   = "10.96.0.0/16"
	clusterDomain = "cluster.local"
	apiPort       = 16443
	etcdPort      = 12379
	etcdPeerPort  = 12380
	kubeletPort   = 10250
	kubeletHealth = 10248
	proxyHealth   = 10256
	proxyMetrics  = 10249
	managerPort   = 10257
	schedulerPort = 10259
)

// StorageClass is the default class; volumes are directories that provisioner
// makes on demand.
const (
	StorageClass    = "local"
	provisionerName = "logstack.dev/local"
)

// DefaultDir is the state directory unless LOGSTACK_CLUSTER_DIR names another.
const DefaultDir = "/var/lib/logstack-cluster"

// maxSocketPath is what fits into sockaddr_un on Linux, with its final zero.
const maxSocketPath = 107

// paths derives every file name from the state directory.
type paths struct{ root string }

func (p paths) in(elem ...string) string {
	return filepath.Join(append([]string{p.root}, elem...)...)
}

func (p paths) pki() string              { return p.in("pki") }
func (p paths) kubeconfig() string       { return p.in("kubeconfig") }
func (p paths) conf(name string) string  { return p.in("config", name) }
func (p paths) containerdSocket() string { return p.in("containerd", "containerd.sock") }
func (p paths) volumes() string          { return p.in("volumes") }
func (p paths) hostFile() string         { return p.in("host-before.json") }

// stateDir validates and cleans the state directory's name.
func stateDir(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("LOGSTACK_CLUSTER_DIR")
	}
	if dir == "" {
		dir = DefaultDir
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if filepath.Dir(dir) == dir {
		return "", fmt.Errorf("state directory %s: name a directory of its own, `down` deletes it", dir)
	}
	if n := len(paths{dir}.containerdSocket() + ".ttrpc"); n > maxSocketPath {
		return "", fmt.Errorf("state directory %s: %d bytes too long for the socket inside it; set LOGSTACK_CLUSTER_DIR to a shorter one", dir, n-maxSocketPath)
	}
	return dir, nil
}

//go:embed templates
var templateFiles embed.FS

// values fill the templates.
type values struct {
	Dir             string
	NodeIP          string
	NodeName        string
	DNSIP           string
	PodCIDR         string
	ServiceCIDR     string
	Domain          string
	Socket          string
	KubeletPort     int
	KubeletHealth   int
	ProxyHealth     int
	ProxyMetrics    int
	CNIBinDir       string
	Snapshotter     string
	MTU             int
	ResolvConf      string
	Forward         bool
	PauseImage      string
	CoreDNSImage    string
	StorageClass    string
	ProvisionerName string
}

func newValues(p paths, h hostFacts) values {
	resolv := h.ResolvConf
	if resolv == "" {
		resolv = p.conf("resolv.conf")
	}
	return values{
		Dir: p.root, NodeIP: NodeIP, NodeName: NodeName, DNSIP: DNSIP, PodCIDR: PodCIDR, ServiceCIDR: serviceCIDR,
		Domain: clusterDomain, Socket: p.containerdSocket(),
		KubeletPort: kubeletPort, KubeletHealth: kubeletHealth, ProxyHealth: proxyHealth, ProxyMetrics: proxyMetrics,
		CNIBinDir: h.CNIBinDir, Snapshotter: h.Snapshotter, MTU: h.MTU, ResolvConf: resolv, Forward: h.ResolvConf != "",
		PauseImage: images.Pause.Tag, CoreDNSImage: images.CoreDNS.Tag, StorageClass: StorageClass, ProvisionerName: provisionerName,
	}
}

// render returns the filled template called name.
func render(name string, v values) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templateFiles, "templates/"+name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// configFiles are the templates that become files, with the directory of each
// relative to the state directory. The rest, addons.yaml, goes to the API.
var configFiles = []struct{ template, dir string }{
	{"containerd.toml", "config"},
	{"kubelet.yaml", "config"},
	{"kube-proxy.yaml", "config"},
	{"resolv.conf", "config"},
	{"10-logstack.conflist", "config/cni"},
}

func (c *Cluster) writeConfig(h hostFacts) error {
	v := newValues(c.p, h)
	for _, f := range configFiles {
		data, err := render(f.template, v)
		if err != nil {
			return fmt.Errorf("render %s: %w", f.template, err)
		}
		dir := c.p.in(f.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.template), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func hostPort(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

func apiURL() string { return "https://" + hostPort(NodeIP, apiPort) }
