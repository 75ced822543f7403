package bare

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/sys/unix"
)

// hostFacts is what up must know about the machine.
type hostFacts struct {
	// CNIBinDir holds the CNI plugins ptp and host-local.
	CNIBinDir string
	// Snapshotter of containerd: overlayfs, or native where overlay mounts are
	// refused (a state directory that is itself on an overlay).
	Snapshotter string
	// MTU of pod interfaces: the least of the machine's own.
	MTU int
	// ResolvConf is a resolv.conf whose servers pods can reach, or empty.
	ResolvConf string
}

// cniDirs are where distributions put CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// tools that must be in PATH, with the Debian package that brings each.
var tools = []struct{ command, debian string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"iptables-save", "iptables"},
	{"mount", "mount"},
}

const cniPackage = "containernetworking-plugins"

// Preflight says why a cluster cannot run here at all, before anything changes.
func Preflight() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a bare cluster needs Linux, this is %s: use CLUSTER=kind with Docker, or CLUSTER=current with a cluster of your own", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("a bare cluster needs root: run as root, or use CLUSTER=kind or CLUSTER=current")
	}
	return nil
}

// missing returns the Debian packages that are not there.
func missing() []string {
	var packages []string
	add := func(p string) {
		for _, have := range packages {
			if have == p {
				return
			}
		}
		packages = append(packages, p)
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t.command); err != nil {
			add(t.debian)
		}
	}
	if findCNI() == "" {
		add(cniPackage)
	}
	return packages
}

func findCNI() string {
	for _, dir := range cniDirs {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "host-local")); err == nil {
				return dir
			}
		}
	}
	return ""
}

// installPackages brings what is missing, with apt-get where there is one.
func installPackages(ctx context.Context, log io.Writer) error {
	packages := missing()
	if len(packages) == 0 {
		return nil
	}
	list := strings.Join(packages, " ")
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("missing: %s (the Debian names) and no apt-get: install containerd 1.6 or newer, runc, iptables and the CNI plugins (in one of %s)",
			list, strings.Join(cniDirs, ", "))
	}
	fmt.Fprintf(log, "installing with apt-get: %s\n", list)
	hadContainerd := !strings.Contains(" "+list+" ", " containerd ")
	install := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if out, err := aptGet(ctx, apt, install...); err != nil {
		// The package lists may be missing or old; once more with fresh ones.
		if out, err := aptGet(ctx, apt, "update"); err != nil {
			return fmt.Errorf("apt-get update: %w\n%s", err, lastLines(out, 10))
		}
		if out, err = aptGet(ctx, apt, install...); err != nil {
			return fmt.Errorf("apt-get install %s: %w\n%s\ninstall them by hand and run this again", list, err, lastLines(out, 10))
		}
	}
	if left := missing(); len(left) > 0 {
		return fmt.Errorf("apt-get installed %s, but the programs of %s are still not in PATH", list, strings.Join(left, ", "))
	}
	if !hadContainerd {
		stopPackagedContainerd(ctx, log)
	}
	return nil
}

func aptGet(ctx context.Context, apt string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return cmd.CombinedOutput()
}

// stopPackagedContainerd stops the service that the package has just started:
// the cluster runs a containerd of its own, and nothing else asked for that one.
func stopPackagedContainerd(ctx context.Context, log io.Writer) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return
	}
	if out, err := exec.CommandContext(ctx, "systemctl", "disable", "--now", "containerd.service").CombinedOutput(); err != nil {
		fmt.Fprintf(log, "warning: the packaged containerd.service keeps running: %v %s\n", err, bytes.TrimSpace(out))
	}
}

func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

func gatherFacts(p paths) (hostFacts, error) {
	h := hostFacts{CNIBinDir: findCNI(), Snapshotter: "native", MTU: 1500, ResolvConf: usableResolvConf()}
	ok, err := overlayWorks(p.in("overlay-probe"))
	if err != nil {
		return h, err
	}
	if ok {
		h.Snapshotter = "overlayfs"
	}
	links, err := net.Interfaces()
	if err != nil {
		return h, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if l.Flags&net.FlagUp != 0 && l.Flags&net.FlagLoopback == 0 && l.MTU >= 576 && l.MTU < h.MTU {
			h.MTU = l.MTU
		}
	}
	return h, nil
}

// overlayWorks tries an overlay mount in the directory that containerd will use.
func overlayWorks(dir string) (bool, error) {
	var opts []string
	for _, sub := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return false, err
		}
		if sub != "merged" {
			opts = append(opts, sub+"dir="+filepath.Join(dir, sub))
		}
	}
	merged := filepath.Join(dir, "merged")
	err := unix.Mount("overlay", merged, "overlay", 0, strings.Join(opts, ","))
	if err == nil {
		if err := unix.Unmount(merged, 0); err != nil {
			return false, fmt.Errorf("unmount %s: %w", merged, err)
		}
	}
	return err == nil, os.RemoveAll(dir)
}

// usableResolvConf returns the machine's resolv.conf with at least one server
// that is not on the loopback interface, which a pod could not reach. Behind
// systemd-resolved the real servers are in a file of its own.
func usableResolvConf() string {
	for _, path := range []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		found := false
		for s := bufio.NewScanner(f); s.Scan(); {
			fields := strings.Fields(s.Text())
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			ip := net.ParseIP(fields[1])
			found = found || ip != nil && !ip.IsLoopback()
		}
		f.Close()
		if found {
			return path
		}
	}
	return ""
}

// checkPorts makes sure that nobody else has the ports of the cluster. The
// node's address is not there yet when this is asked, so its ports must be free
// on every address. That is also what keeps the cluster away from a machine that
// runs another kubelet, whose pods and firewall chains look like ours.
func checkPorts() error {
	const loopback, every = "127.0.0.1", ""
	for _, l := range []struct {
		who, ip string
		port    int
	}{
		{"etcd", loopback, etcdPort}, {"etcd", loopback, etcdPeerPort},
		{"kube-apiserver", every, apiPort}, {"kubelet", every, kubeletPort}, {"kubelet", loopback, kubeletHealth},
		{"kube-controller-manager", loopback, managerPort}, {"kube-scheduler", loopback, schedulerPort},
		{"kube-proxy", loopback, proxyHealth}, {"kube-proxy", loopback, proxyMetrics},
	} {
		s, err := net.Listen("tcp", hostPort(l.ip, l.port))
		if err != nil {
			return fmt.Errorf("port %d for %s is taken (%w): another Kubernetes runs here? Stop it, or use it with CLUSTER=current", l.port, l.who, err)
		}
		s.Close()
	}
	return nil
}

// proxyHint says what to set when a proxy of the environment would come between
// clients and the API; empty when none does.
func proxyHint() string {
	api, err := url.Parse(apiURL())
	if err != nil {
		return ""
	}
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(api)
	if err != nil || proxy == nil {
		return ""
	}
	return fmt.Sprintf("note: clients would ask the proxy %s for this cluster; export NO_PROXY=%s", proxy.Redacted(), NodeIP)
}
