// Package install puts the collector into a cluster and takes it out again.
//
// [Render] fills [Values] into the objects of package manifests; [Run] applies
// them (server-side apply, in order), waits until the collector is ready and
// reports every step to an observer; [Uninstall] deletes what an installation
// made; [Inspect] says how a running installation is. It prints nothing: the
// command does.
//
// What cannot become ready by waiting (an image that does not exist, a claim
// that nothing binds, a pod that admission refuses) ends the wait at once with
// a *[StuckError] that says why and what to do.
package install
