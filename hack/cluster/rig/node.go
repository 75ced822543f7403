package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is a Node object and its kubelet.
type Node struct {
	Name    string
	Kubelet *Kubelet
	// Link is the network between API server and kubelet.
	Link *Proxy

	rig *Rig
}

// AddNode creates a Node that is Ready and starts its kubelet.
func (r *Rig) AddNode(ctx context.Context, name string) (*Node, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, rig: r, Kubelet: newKubelet(name, port, r.kubeletCert, r.untrustedCert, r.callers)}
	n.Kubelet.nodeLogs = newNodeLogs(r, name)
	if err := n.Kubelet.Start(); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.Kubelet.Stop()
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	n.Link = startProxy(ln, loopback(port))
	r.mu.Lock()
	r.nodes = append(r.nodes, n)
	r.proxies = append(r.proxies, n.Link)
	r.mu.Unlock()
	return n, n.register(ctx)
}

func (n *Node) register(ctx context.Context) error {
	nodes := n.rig.client.CoreV1().Nodes()
	obj, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:   n.Name,
		Labels: map[string]string{corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	now := metav1.Now()
	obj.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	obj.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(n.Link.ln.Addr().(*net.TCPAddr).Port)
	obj.Status.NodeInfo = corev1.NodeSystemInfo{
		KubeletVersion: binaries.KubernetesVersion, OperatingSystem: "linux", ContainerRuntimeVersion: "containerd://2.0.0",
	}
	obj.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}}
	if _, err := nodes.UpdateStatus(ctx, obj, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("node %s: status: %w", n.Name, err)
	}
	return nil
}

// Remove deletes the Node object and stops its kubelet and its link. Pods that
// are still bound to it keep their files until the rig stops.
func (n *Node) Remove(ctx context.Context) error {
	err := n.rig.client.CoreV1().Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	n.rig.mu.Lock()
	n.rig.nodes = slices.DeleteFunc(n.rig.nodes, func(o *Node) bool { return o == n })
	n.rig.proxies = slices.DeleteFunc(n.rig.proxies, func(o *Proxy) bool { return o == n.Link })
	n.rig.mu.Unlock()
	return errors.Join(err, n.Link.Close(), n.Kubelet.Stop())
}
