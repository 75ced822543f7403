// Package snapshot is what the doctor looks at: one model for a live cluster,
// for files, and for files laid over a live cluster ("what if").
//
// A [Snapshot] is loaded once ([LoadLive], [LoadFiles], [Overlay]) and never
// changed. Its pieces are named by [Input]; a check declares which inputs it
// needs, and the accessors (Services, Pods, Collectors, ...) remember what was
// read, so that a test can prove the declaration ([Snapshot.For]).
//
// What could not be read is in [Snapshot.Missing], with the right that lacks;
// what was read in some namespaces only is in [Snapshot.Scope]. Nothing here
// judges: that is the work of the checks in package doctor.
//
// Where an object comes from, down to file, line and column, is answered by
// [Snapshot.Ref]; configurations inside of ConfigMaps and values keep their
// position in [Text].
//
// Derived views are built once, at the end of loading: [Release] (charts and
// their values, from Helm's secrets, Flux, Argo CD and values files) and
// [Collector] (a log collector's configuration with the workload that runs it).
package snapshot
