package proc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// child is what the test binary does when it is started as a process under test.
const child = "LOGSTACK_PROC_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(child) {
	case "":
		os.Exit(m.Run())
	case "sleep":
		time.Sleep(time.Minute)
	case "die":
		os.Stdout.WriteString("line one\nbad configuration\n")
		os.Exit(3)
	}
}

func spec(t *testing.T, name, behaviour string) Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Name: name, Path: exe, Env: []string{child + "=" + behaviour}}
}

func newManager(t *testing.T, log io.Writer) *Manager {
	t.Helper()
	m, err := NewManager(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.StopAll(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestStartIsIdempotentAndStopReverses(t *testing.T) {
	var log bytes.Buffer
	m := newManager(t, &log)
	for _, name := range []string{"a", "b", "c"} {
		if err := m.Start(t.Context(), spec(t, name, "sleep")); err != nil {
			t.Fatal(err)
		}
	}
	before, err := m.Get("b")
	if err != nil || before == nil || !before.Alive() {
		t.Fatalf("b: %+v, %v", before, err)
	}
	if err := m.Start(t.Context(), spec(t, "b", "sleep")); err != nil {
		t.Fatal(err)
	}
	after, err := m.Get("b")
	if err != nil || after.Pid != before.Pid {
		t.Fatalf("second start made pid %d of %d (%v)", after.Pid, before.Pid, err)
	}
	log.Reset()
	if err := m.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		order = append(order, line[:1])
	}
	if got := strings.Join(order, ""); got != "cba" {
		t.Errorf("stopped in the order %s, want cba", got)
	}
	if before.Alive() {
		t.Error("b is still alive")
	}
	if all, _ := m.List(); len(all) != 0 {
		t.Errorf("%d pid files are left", len(all))
	}
}

func TestDeathShowsTheLog(t *testing.T) {
	m := newManager(t, nil)
	s := spec(t, "broken", "die")
	s.Ready = func(context.Context) error { return errors.New("refused") }
	err := m.Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "bad configuration") {
		t.Errorf("got %v, want the tail of the log", err)
	}
}

func TestNotReadyInTime(t *testing.T) {
	m := newManager(t, nil)
	s := spec(t, "slow", "sleep")
	s.ReadyTimeout = time.Millisecond
	cause := errors.New("connection refused")
	s.Ready = func(context.Context) error { return cause }
	if err := m.Start(t.Context(), s); !errors.Is(err, cause) {
		t.Errorf("got %v, want the last readiness error", err)
	}
}

// A pid file of an earlier boot may name a process that is somebody else's now.
func TestStalePidFileIsNotKilled(t *testing.T) {
	m := newManager(t, nil)
	innocent := exec.Command(os.Args[0])
	innocent.Env = append(os.Environ(), child+"=sleep")
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = innocent.Process.Kill(); _ = innocent.Wait() }()
	data, err := json.Marshal(Process{Name: "etcd", Pid: innocent.Process.Pid, Started: "earlier-boot/42", StopTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.runDir(), "01-etcd.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := startOf(innocent.Process.Pid); err != nil {
		t.Errorf("the innocent process is gone: %v", err)
	}
	if all, _ := m.List(); len(all) != 0 {
		t.Error("the stale pid file is still there")
	}
}

func TestLockExcludes(t *testing.T) {
	m := newManager(t, nil)
	unlock, err := m.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want ErrLocked", err)
	}
	unlock()
	unlock, err = m.Lock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
