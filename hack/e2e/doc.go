// Package e2e tests the main job on a real cluster, as a person does it: with
// the plugin's binary, against real pods. It runs only where
// LOGSTACK_E2E_PLUGIN names the binary and KUBECONFIG a cluster whose nodes
// have the images loaded; `make test-cluster` (hack/e2e.sh) sees to both.
package e2e
