// Command cluster brings up a Kubernetes cluster to develop and test against,
// and takes it away again.
//
//	go run -C hack/cluster . up                      start it, print its kubeconfig
//	go run -C hack/cluster . load ARCHIVE...         put images into the node
//	go run -C hack/cluster . apply FILE|DIR...       apply manifests and wait
//	go run -C hack/cluster . status                  what runs; fails when it is not healthy
//	go run -C hack/cluster . down                    leave nothing behind
//	go run -C hack/cluster . build [PROGRAM...]      fill the cache of programs
//
// The environment variable CLUSTER says which cluster: bare (the default) is a
// real single node on this Linux machine, as root; kind is a kind cluster where
// Docker runs; current is whatever the present kubeconfig context names.
//
// This is a module of its own, so that Kubernetes and etcd, which are built from
// their modules, never meet the product's dependencies. Beside this command:
//
//	internal/bare        the single-node cluster: what is started, and undone
//	internal/binaries    programs from modules, cached
//	internal/images      programs as images, cached
//	internal/kube, internal/pki, internal/proc
//	                     client, certificates, processes; shared with the API rig
//	rig/                 the API rig: etcd, API server, fake kubelets; no root
//	cmd/                 etcd, CoreDNS, pause, volume provisioner: small mains
//	samples/             applications that log: demo.yaml and their one program
package main
