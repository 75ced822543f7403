package bare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// before is what up finds on the machine and down restores.
type before struct {
	// Sysctls by path under /proc/sys, with their values.
	Sysctls map[string]string `json:"sysctls"`
	// Absent lists directories outside the state directory that the parts will
	// create and that were not there.
	Absent []string `json:"absent"`
}

// sysctls are the kernel settings that up, the kubelet or kube-proxy change.
var sysctls = []string{
	"net/ipv4/ip_forward",
	"net/ipv4/conf/all/route_localnet",
	"net/ipv4/vs/conntrack",
	"vm/overcommit_memory",
	"vm/panic_on_oom",
	"kernel/panic",
	"kernel/panic_on_oops",
	"kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes",
}

// foreignDirs are the directories that the parts use whatever their
// configuration says, deepest first.
var foreignDirs = []string{
	"/var/lib/kubelet/device-plugins",
	"/var/lib/kubelet/plugins_registry",
	"/var/lib/kubelet",
	"/var/log/containers",
	"/var/lib/cni/results",
	"/var/lib/cni",
	"/run/containerd/s",
	"/run/containerd/fifo",
	"/run/containerd",
	"/etc/cni/net.d",
	"/etc/cni",
	"/opt/cni/bin",
	"/opt/cni",
}

func sysctlPath(name string) string { return "/proc/sys/" + name }

// remember writes the machine's state to the host file, once: a second up after
// a crash must not take the first one's changes for the original.
func (c *Cluster) remember() error {
	path := c.p.hostFile()
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b := before{Sysctls: map[string]string{}}
	for _, name := range sysctls {
		if v, err := os.ReadFile(sysctlPath(name)); err == nil {
			b.Sysctls[name] = strings.TrimSpace(string(v))
		}
	}
	for _, dir := range foreignDirs {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			b.Absent = append(b.Absent, dir)
		}
	}
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// recall reads the host file; without one there is nothing to restore.
func (c *Cluster) recall() (before, error) {
	var b before
	data, err := os.ReadFile(c.p.hostFile())
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		return b, fmt.Errorf("state of the machine before up: %w", err)
	}
	return b, nil
}

// restore puts sysctls back and removes directories that were not there before,
// as far as nobody else put something into them.
func restore(b before) error {
	var errs []error
	for name, want := range b.Sysctls {
		have, err := os.ReadFile(sysctlPath(name))
		if err != nil || strings.TrimSpace(string(have)) == want {
			continue
		}
		if err := os.WriteFile(sysctlPath(name), []byte(want), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("restore sysctl %s=%s: %w", name, want, err))
		}
	}
	for _, dir := range b.Absent {
		removeSockets(dir)
		_ = os.Remove(dir) // fails when not empty, and then it is not ours alone
	}
	return errors.Join(errs...)
}

// removeSockets deletes what a killed kubelet leaves in dir.
func removeSockets(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type()&(fs.ModeSocket|fs.ModeNamedPipe) != 0 || e.Name() == "DEPRECATION" {
			_ = os.Remove(dir + "/" + e.Name())
		}
	}
}
