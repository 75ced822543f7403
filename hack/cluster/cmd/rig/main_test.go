package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func TestBadCommandLines(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "use `rig up`"},
		{[]string{"down"}, "use `rig up`"},
		{[]string{"up"}, "--dir is required"},
		{[]string{"up", "--nope"}, "flag provided but not defined"},
	}
	for _, tt := range tests {
		err := run(t.Context(), tt.args, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// safeBuffer is written by the rig while the test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestUp(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr safeBuffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"up", "--dir", dir}, &stdout, &stderr) }()
	ready := filepath.Join(dir, "ready")
	deadline := time.Now().Add(10 * time.Minute) // the first time kube-apiserver is built
	for {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("rig up has ended: %v\n%s", err, stderr.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready\n%s", stderr.String())
		}
	}
	env, err := os.ReadFile(ready)
	if err != nil {
		t.Fatal(err)
	}
	want := "export KUBECONFIG=" + dir + "/admin.kubeconfig\nexport COLLECTOR_KUBECONFIG=" + dir + "/logstack-collector.kubeconfig\n"
	if string(env) != want {
		t.Errorf("%s holds %q, want %q", ready, env, want)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "logstack-collector.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.CoreV1().Pods("shop").GetLogs("payments-0", &corev1.PodLogOptions{Container: "payments"}).DoRaw(ctx)
	if err != nil || !strings.HasPrefix(string(got), `level=info msg="ready to charge"`) {
		t.Errorf("a demo pod's log: %q, %v", got, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ready); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", ready, err)
	}
	if stdout.String() != want {
		t.Errorf("stdout %q", stdout.String())
	}
}
