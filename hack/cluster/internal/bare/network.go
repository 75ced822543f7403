package bare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Chains of our own, beside those of kubelet and kube-proxy.
const (
	chainForward    = "LOGSTACK-FORWARD"
	chainMasquerade = "LOGSTACK-MASQUERADE"
)

// ownChain recognises chains that exist only because of this cluster. KUBE-* is
// the prefix of kubelet and kube-proxy; up refuses to start beside another
// kubelet, so they are ours.
func ownChain(name string) bool {
	return strings.HasPrefix(name, "KUBE-") || strings.HasPrefix(name, "LOGSTACK-")
}

// networkUp gives the node its address and lets pods out.
func networkUp(ctx context.Context) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	if err := netlink.AddrReplace(lo, nodeAddr()); err != nil {
		return fmt.Errorf("address %s on lo: %w", NodeIP, err)
	}
	if err := os.WriteFile(sysctlPath("net/ipv4/ip_forward"), []byte("1"), 0o644); err != nil {
		return fmt.Errorf("enable forwarding: %w", err)
	}
	// Chains first, then the jumps, so that a second run changes nothing. A host
	// whose FORWARD policy is DROP (Docker sets it) must still pass pod traffic.
	script := strings.Join([]string{
		"*filter",
		":" + chainForward + " - [0:0]",
		"-A " + chainForward + " -s " + PodCIDR + " -j ACCEPT",
		"-A " + chainForward + " -d " + PodCIDR + " -j ACCEPT",
		"COMMIT",
		"*nat",
		":" + chainMasquerade + " - [0:0]",
		"-A " + chainMasquerade + " -s " + PodCIDR + " ! -d " + PodCIDR + " -j MASQUERADE",
		"COMMIT", "",
	}, "\n")
	if err := iptablesRestore(ctx, "iptables", script); err != nil {
		return err
	}
	for _, j := range []struct{ table, from, to string }{
		{"filter", "FORWARD", chainForward}, {"nat", "POSTROUTING", chainMasquerade},
	} {
		rule := func(verb string) *exec.Cmd {
			return exec.CommandContext(ctx, "iptables", "-w", "5", "-t", j.table, verb, j.from, "-j", j.to)
		}
		if rule("-C").Run() == nil {
			continue
		}
		if out, err := rule("-I").CombinedOutput(); err != nil {
			return fmt.Errorf("iptables: jump from %s to %s: %w: %s", j.from, j.to, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

func nodeAddr() *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(NodeIP).To4(), Mask: net.CIDRMask(32, 32)}}
}

// networkDown undoes networkUp, and what kubelet, kube-proxy and the CNI plugin
// did.
func networkDown(ctx context.Context) error {
	var errs []error
	links, err := podLinks()
	errs = append(errs, err)
	for _, l := range links {
		if err := netlink.LinkDel(l); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("delete interface %s: %w", l.Attrs().Name, err))
		}
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		errs = append(errs, removeChains(ctx, family))
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrDel(lo, nodeAddr())
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		errs = append(errs, fmt.Errorf("remove address %s from lo: %w", NodeIP, err))
	}
	return errors.Join(errs...)
}

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}

// podLinks returns the host ends of the pods' veth pairs: interfaces with a
// route into the pod network.
func podLinks() ([]netlink.Link, error) {
	_, pods, err := net.ParseCIDR(PodCIDR)
	if err != nil {
		return nil, err
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	seen := map[int]bool{}
	var links []netlink.Link
	for _, r := range routes {
		if r.Dst == nil || !pods.Contains(r.Dst.IP) || seen[r.LinkIndex] {
			continue
		}
		seen[r.LinkIndex] = true
		l, err := netlink.LinkByIndex(r.LinkIndex)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("interface %d: %w", r.LinkIndex, err)
		}
		if l.Type() == "veth" {
			links = append(links, l)
		}
	}
	return links, nil
}

// removeChains deletes our chains and every rule that jumps to one, and leaves
// the rules of others alone.
func removeChains(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, command+"-save").Output()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) || command == "ip6tables" {
			return nil // no IPv6 in this kernel: nothing of ours either
		}
		return fmt.Errorf("%s-save: %w", command, err)
	}
	script := removalScript(string(out))
	if script == "" {
		return nil
	}
	return iptablesRestore(ctx, command, script)
}

// removalScript turns the output of iptables-save into input for
// iptables-restore --noflush that deletes our jumps, then flushes and deletes our
// chains.
func removalScript(saved string) string {
	var b, table strings.Builder
	var chains []string
	name := ""
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "*"):
			name, chains = line, nil
			table.Reset()
		case strings.HasPrefix(line, ":") && ownChain(fields[0][1:]):
			chains = append(chains, fields[0][1:])
		case strings.HasPrefix(line, "-A ") && !ownChain(fields[1]) && ownChain(target(line)):
			table.WriteString("-D" + strings.TrimPrefix(line, "-A") + "\n")
		case line == "COMMIT" && len(chains) > 0:
			b.WriteString(name + "\n" + table.String())
			for _, verb := range []string{"-F ", "-X "} {
				for _, c := range chains {
					b.WriteString(verb + c + "\n")
				}
			}
			b.WriteString("COMMIT\n")
		}
	}
	return b.String()
}

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// target returns the chain or target that a rule in iptables-save form jumps to.
// Quoted text is a comment or a log prefix and may hold anything.
func target(rule string) string {
	fields := strings.Fields(quoted.ReplaceAllString(rule, `""`))
	for i := 0; i+1 < len(fields); i++ {
		if fields[i] == "-j" || fields[i] == "-g" {
			return fields[i+1]
		}
	}
	return ""
}

func iptablesRestore(ctx context.Context, command, script string) error {
	cmd := exec.CommandContext(ctx, command+"-restore", "--noflush", "-w", "5")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s-restore: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}
