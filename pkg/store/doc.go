// Package store is the log database: it makes entries durable, keeps them
// compressed, and finds them by labels, time and text.
//
// [Open] gives a [DB]; [DB.Append] writes batches, [DB.Select] reads entries,
// [DB.Tail] follows them. The store knows no LogQL, no HTTP and no Kubernetes.
package store
