// Package bare runs a real single-node Kubernetes on a bare Linux machine, as
// root, and takes it away again.
//
// [Cluster.Up] starts, in this order:
//
//	etcd → kube-apiserver → kube-controller-manager, kube-scheduler
//	containerd (own root, state and socket; images imported)
//	kubelet, kube-proxy, provisioner → CoreDNS, storage class
//
// and [Cluster.Down] stops them in reverse, removes every pod through the
// container runtime, and undoes what the parts did to the machine: mounts,
// interfaces, routes, iptables rules, control groups, sysctls, directories.
// [Cluster.Leftovers] names what is still there; an empty answer is the
// definition of "down".
//
// # Addresses
//
//	10.245.0.1         the node, an address on the loopback interface
//	10.244.0.0/16      pods: one veth pair each and a route to it (CNI plugin ptp),
//	                   so that a Service works without br_netfilter
//	10.96.0.0/16       Services; 10.96.0.1 the API, 10.96.0.10 DNS
//	10.245.0.1:16443   the API server, :10250 the kubelet
//	127.0.0.1:12379    etcd; 10248, 10249, 10256, 10257, 10259 health
//
// Nothing listens on an address that is reachable from another machine.
//
// # Directories
//
// Everything is under one state directory (default /var/lib/logstack-cluster,
// LOGSTACK_CLUSTER_DIR), which Down deletes; binaries and image archives are
// in the user's cache directory and stay.
//
// The kubelet rotates container logs at 1 MiB, keeps three files and looks every
// three seconds, so that rotation happens in tests. PodSecurity admission works
// as everywhere: by namespace labels.
//
// The package does not run more than one node and does not survive a reboot: Up
// after a reboot finds stale pid files and starts anew.
package bare
