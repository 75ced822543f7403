package binaries

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// KubernetesVersion is the version of the k8s.io/kubernetes module in go.mod,
// which every component reports as its own. A test compares it with go.mod.
const KubernetesVersion = "v1.36.3"

// Names of the programs that [Cache.Build] knows.
const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	KubeProxy         = "kube-proxy"
	Kubectl           = "kubectl"
	Etcd              = "etcd"
	CoreDNS           = "coredns"
	Pause             = "pause"
	Provisioner       = "provisioner"
	Loggen            = "loggen"
)

// Program says how one program is built.
type Program struct {
	// Package is the import path, or a path beginning with "./" for a package
	// of this module.
	Package string
	// LDFlags are passed to the linker.
	LDFlags string
	// Image marks a program that runs in a container, and therefore is built
	// for Linux whatever this machine runs.
	Image bool
}

// GOOS is the operating system the program is built for.
func (p Program) GOOS() string {
	if p.Image {
		return "linux"
	}
	return runtime.GOOS
}

const stripped = "-s -w"

// Programs returns every program by name.
func Programs() map[string]Program {
	kube := stripped
	major, minor, _ := strings.Cut(strings.TrimPrefix(KubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	for _, v := range [][2]string{{"gitMinor", minor}, {"gitMajor", major}, {"gitVersion", KubernetesVersion}} {
		kube = fmt.Sprintf("-X k8s.io/component-base/version.%s=%s %s", v[0], v[1], kube)
	}
	programs := map[string]Program{}
	for _, name := range []string{APIServer, ControllerManager, Scheduler, Kubelet, KubeProxy, Kubectl} {
		programs[name] = Program{Package: "k8s.io/kubernetes/cmd/" + name, LDFlags: kube}
	}
	for _, name := range []string{Etcd, Provisioner} {
		programs[name] = Program{Package: "./cmd/" + name, LDFlags: stripped}
	}
	for _, name := range []string{CoreDNS, Pause} {
		programs[name] = Program{Package: "./cmd/" + name, LDFlags: stripped, Image: true}
	}
	programs[Loggen] = Program{Package: "./samples/loggen", LDFlags: stripped, Image: true}
	return programs
}

// Names returns the names of all programs, sorted.
func Names() []string {
	var names []string
	for name := range Programs() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
