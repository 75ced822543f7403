// Package e2e tests the main job, doctor and the way through Krew on a real
// cluster, as a person uses them: with the plugin's binary, against real pods and
// objects. It runs only where
// LOGSTACK_E2E_PLUGIN names the binary and KUBECONFIG a cluster whose nodes
// have the images loaded; `make test-cluster` (hack/e2e.sh) sees to both.
package e2e
