package bare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// Leftovers names what a cluster of this state directory has left on the
// machine: processes, mounts, interfaces, addresses, firewall chains, control
// groups, files. Nothing is left when the answer is empty.
func (c *Cluster) Leftovers(ctx context.Context) ([]string, error) {
	var left []string
	for _, look := range []func(context.Context) ([]string, error){
		c.leftProcesses, c.leftMounts, leftNetwork, leftChains, c.leftFiles,
	} {
		found, err := look(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for leftovers: %w", err)
		}
		left = append(left, found...)
	}
	for _, dir := range cgroupDirs() {
		left = append(left, "control group "+dir)
	}
	return left, nil
}

func (c *Cluster) leftProcesses(context.Context) ([]string, error) {
	pids, err := c.stragglers()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, pid := range pids {
		left = append(left, fmt.Sprintf("pod process %d", pid))
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || dir == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		words := strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
		for _, name := range append([]string{containerdName}, components...) {
			first, rest, _ := strings.Cut(words, " ")
			if filepath.Base(first) == name && strings.Contains(rest, c.p.root+"/") {
				left = append(left, fmt.Sprintf("process %s: %s", filepath.Base(dir), words))
			}
		}
	}
	return left, nil
}

func (c *Cluster) leftMounts(context.Context) ([]string, error) {
	points, err := mountsUnder(c.p.root)
	for i := range points {
		points[i] = "mount " + points[i]
	}
	return points, err
}

func leftNetwork(context.Context) ([]string, error) {
	var left []string
	links, err := podLinks()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		left = append(left, "interface "+l.Attrs().Name)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if a.IP.String() == NodeIP {
			left = append(left, "address "+NodeIP)
		}
	}
	return left, nil
}

func leftChains(ctx context.Context) ([]string, error) {
	var left []string
	for _, command := range []string{"iptables-save", "ip6tables-save"} {
		out, err := exec.CommandContext(ctx, command).Output()
		if err != nil {
			if errors.Is(err, exec.ErrNotFound) || command == "ip6tables-save" {
				continue // never installed, or no IPv6 in this kernel
			}
			return nil, fmt.Errorf("%s: %w", command, err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, ":") && ownChain(line[1:]) {
				left = append(left, command+" chain "+strings.Fields(line[1:])[0])
			}
		}
	}
	return left, nil
}

func (c *Cluster) leftFiles(context.Context) ([]string, error) {
	left := c.foreignFiles()
	if _, err := os.Lstat(c.p.root); err == nil {
		left = append(left, c.p.root)
	}
	return left, nil
}

// foreignFiles returns what the parts put outside of the state directory: the
// kubelet's log links that point into it, and the CNI library's result cache,
// which carries the network's name.
func (c *Cluster) foreignFiles() []string {
	var found []string
	links, _ := filepath.Glob("/var/log/containers/*.log") // the patterns are well-formed
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, c.p.root+"/") {
			found = append(found, l)
		}
	}
	results, _ := filepath.Glob("/var/lib/cni/results/logstack-*")
	return append(found, results...)
}

func (c *Cluster) removeForeignFiles() error {
	var errs []error
	for _, path := range c.foreignFiles() {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}
