// Package kube is the little of a Kubernetes client that starting and testing a
// cluster takes: apply manifests, ask whether the API is ready, wait.
//
// It exists so that a machine with only Go needs no kubectl. It is not a client
// library for the product, which has its own.
package kube
