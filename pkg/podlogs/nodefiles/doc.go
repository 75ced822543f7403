// Package nodefiles reads the log files of containers from the nodes that hold
// them, through the kubelet's endpoint /logs/: the files that are being written,
// the rotated ones and the compressed ones.
//
// A [Client] talks to the kubelets themselves, at https://<node>:10250/logs/pods/,
// with a token of a service account that may do nothing but get nodes/log. It
// never goes through the API server's node proxy: that would need nodes/proxy,
// which is a shell in every pod. What it may name is confined to the directory
// of one container, see [Dir].
//
//	List ──► 3.log, 3.log.20261122-101500, 3.log.20261122-093000.gz ──► Runs
//	Open ──► Body ──► Reader ──► Record ──► Joiner ──► Line
//	                  (offsets)             (P…F to one line)
//
// # Files
//
// A run of a container, numbered by its restart count, writes one file after the
// other. The kubelet renames the live file when it is large enough and compresses
// all rotated ones but the newest (container_log_manager.go):
//
//	<run>.log                          live, or the last one of a run that has ended
//	<run>.log.<YYYYMMDD-hhmmss>        rotated
//	<run>.log.<YYYYMMDD-hhmmss>.gz     compressed
//
// A file keeps its content under all three names, so it is known by what it
// begins with: [Fingerprint]. A record begins with a time in nanoseconds, so two
// files do not begin alike. Offsets always count bytes of the uncompressed file.
//
// # Records
//
//	2026-11-22T10:15:00.123456789+01:00 stdout F text
//	└── time, zone of the node ────────┘ │     │ └── to the end of the line
//	                       stdout or stderr    F: the line ends here, P: it goes on
//	                                           in the next record of the stream
//
// [Joiner] makes lines of them, stream by stream. With Shared it does so as the
// kubelet does for pods/log, which knows only whether the last record ended a
// line, whatever stream it was of: such lines have the text that the API shows,
// and can be compared with what was read there.
//
// # Limits
//
// Requests are admitted per node and in all, at most a few bodies are open at a
// time, a listing, a record and what a compressed file unpacks to are bounded.
// Nothing is followed: a caller asks again with the next offset.
//
// What the kubelet serves is not trusted: it follows symbolic links on the node,
// and who can write into a node's log directory chooses what is read.
package nodefiles
