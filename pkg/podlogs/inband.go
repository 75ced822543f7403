package podlogs

import (
	"bytes"
	"strings"
)

// inbandErrors are beginnings of texts that the kubelet appends to a body whose
// status 200 is already on the wire: it flushes before it opens the log, so
// every later failure ends up here, without timestamp and without newline
// (kubelet server.go getContainerLogs; cri-client logs.go). The kind is the
// value of a metric label.
var inbandErrors = []struct {
	text []byte
	kind string
}{
	{[]byte("too many open files"), "inotify"},
	{[]byte("unable to retrieve container logs for "), "container_gone"},
	{[]byte("failed to try resolving symlinks in path "), "file_gone"},
	{[]byte("failed to open log file "), "file_gone"},
	{[]byte("failed to create fsnotify watcher"), "watch"},
	{[]byte("failed to watch directory "), "watch"},
	{[]byte("failed to read log file "), "read"},
	{[]byte("failed to seek "), "read"},
	{[]byte("failed to tail "), "read"},
	{[]byte("failed to reset seek in log file "), "read"},
	{[]byte("failed to get parse function: "), "format"},
	{[]byte("failed to get container status "), "runtime"},
	{[]byte("rpc error: code = "), "runtime"},
	{[]byte("context canceled"), "canceled"},
	{[]byte("context cancelled"), "canceled"},
	{[]byte("context deadline exceeded"), "canceled"},
	{[]byte("an error on the server"), "server"},
	{[]byte("http2: "), "server"},
}

// inbandError names the kind of error in the unterminated end of a body, or
// returns "". The text may follow half a line without any separator, so it is
// looked for everywhere. An application's own words may match too: the caller
// asks only about tails, which are not stored before a second read confirms them.
func inbandError(tail []byte) string {
	for i := range inbandErrors {
		if bytes.Contains(tail, inbandErrors[i].text) {
			return inbandErrors[i].kind
		}
	}
	return ""
}

// notFoundText is how the runtime says that it no longer knows a container.
const notFoundText = "rpc error: code = NotFound "

// removedAfterEnd says whether a follow ended because the runtime no longer knows
// the container. The kubelet asks the runtime each time when it has just read to
// the end of the file, and a container is removed long after its last line: so
// the follow has delivered all of it. Half a line before the text would say that
// it has not.
func removedAfterEnd(tail *record) bool {
	return !tail.stamped && strings.HasPrefix(tail.text, notFoundText)
}
