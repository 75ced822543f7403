// Package krew holds what Krew does with a plugin, for tests and for the
// release: [Manifest.Validate] has the rules of Krew's own validation and of
// the validate-krew-manifest command that its index runs, [Root.Install] and
// [Root.Uninstall] lay a plugin out on disk as `kubectl krew install` does.
//
// It downloads nothing and reads no index. Facts: kubernetes-sigs/krew v0.4,
// internal/index/validation, internal/installation, cmd/validate-krew-manifest.
package krew
