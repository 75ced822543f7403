package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// For tests that look at the plugin as a process.
	if os.Getenv("LOGSTACK_TEST_MAIN") != "" {
		main()
	}
	goleak.VerifyTestMain(m,
		// client-go's flags start klog's flusher, which never ends.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}
