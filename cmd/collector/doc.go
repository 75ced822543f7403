// Command collector is the in-cluster process of kubectl logstack: it reads
// the logs of all containers through the Kubernetes API, takes pushes over
// Loki's API, stores both, and answers LogQL. It also runs on a laptop against
// a kubeconfig, or without Kubernetes at all.
//
// main.go turns flags and environment into a config, run.go starts the parts
// and stops them in order, memory.go divides the memory among them.
package main
