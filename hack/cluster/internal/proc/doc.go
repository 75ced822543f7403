// Package proc runs the long-lived programs of a cluster: it starts each in a
// session of its own with a log file and a pid file, waits until it is ready,
// and stops all of them by pid in reverse order.
//
// A [Manager] is a directory:
//
//	run/<nn>-<name>.json   pid file: pid, start time, boot, command; nn is the start order
//	logs/<name>.log        standard output and error, appended over restarts
//
// A pid alone does not identify a process: after a crash or a reboot it may
// belong to another one. The pid file therefore records when the process started
// (and, on Linux, in which boot), and a pid whose start differs counts as gone.
// Nothing is ever stopped by name.
//
// The package does not restart what dies and knows no Kubernetes.
package proc
