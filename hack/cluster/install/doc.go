// Package install tests `kubectl logstack install` and its relatives against a
// real API server, the rig's: server-side apply, admission, RBAC and dry runs are
// Kubernetes' own. What the rig has no controller for (StatefulSets, the kubelet)
// is played, and only that.
//
// The package has no code of its own besides tests. [TestMain] builds the plugin
// and starts one rig; every test has a namespace of its own.
package install
