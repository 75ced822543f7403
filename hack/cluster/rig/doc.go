// Package rig is a Kubernetes API for tests: a real etcd (embedded) and a real
// kube-apiserver (a subprocess) with RBAC on, and fake kubelets that serve
// container logs. It needs nothing but Go: no root, no container runtime, no
// package of the distribution, on Linux and macOS, and starts in seconds.
//
//	r, err := rig.Start(ctx, rig.Options{Dir: dir})
//	node, err := r.AddNode(ctx, "node-a")
//	pod, err := r.AddPod(ctx, node, rig.PodSpec{Namespace: "shop", Name: "web", Containers: []string{"app"}})
//	err = pod.Write("app", rig.Stdout, "hello")
//	rc, err := r.Client().CoreV1().Pods("shop").GetLogs("web", opts).Stream(ctx)
//
// What is real and what is played:
//
//	client ─► [Proxy] ─► kube-apiserver ─► [Proxy] ─► Kubelet ─► ReadLogs ─► CRI files ◄─ Pod.Write
//	                         │ real                    │ played    │ real                  │ played
//	                     etcd (real)                status rules,  k8s.io/cri-client    writes, rotates,
//	                                                zero-byte flush, errors in a 200    restarts, deletes
//
// The bytes of every answer are chosen by k8s.io/cri-client/pkg/logs.ReadLogs,
// the code that the kubelet runs, over files that [Pod] and [Container] write in
// the CRI format and rotate as the kubelet and containerd do. Its defects (lines
// lost or sent twice around a rotation) are therefore the real ones; the rig must
// never get a reader of its own. What the kubelet does around ReadLogs is copied
// by [Kubelet] rule for rule.
//
// Main types: [Rig] starts and stops everything; [Node] owns a [Kubelet] with its
// faults (stop, cut, error status, text inside a good answer, wrong certificate);
// [Pod] and [Container] play the container runtime and publish the pod status;
// [Proxy] is a TCP proxy that cuts, throttles and swallows. Package
// rig/lines makes numbered log lines and checks that none is lost or doubled.
//
// The rig runs no controllers and no scheduler: a pod goes where the test puts
// it, nothing restarts or collects anything by itself. etcd listens on loopback
// without authentication, so a rig is for tests and demonstrations only.
//
// Files below Options.Dir:
//
//	pki/                 certificates and keys
//	etcd/                data of etcd, not synced to disk
//	apiserver.log        output of kube-apiserver, all runs
//	etcd.log             output of etcd
//	admin.kubeconfig     cluster administrator
//	pods/<ns>_<pod>_<uid>/<container>/<restart>.log[.<time>[.gz]]
package rig
