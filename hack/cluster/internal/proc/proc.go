package proc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Defaults of a [Spec].
const (
	defaultReadyTimeout = 60 * time.Second
	defaultStopTimeout  = 15 * time.Second
	// killTimeout is how long a process may take to vanish after SIGKILL.
	killTimeout  = 10 * time.Second
	pollInterval = 50 * time.Millisecond
	tailLines    = 25
)

// Spec says what to start.
type Spec struct {
	// Name names the process in messages and file names.
	Name string
	// Path is the program, Args its arguments without the program's name.
	Path string
	Args []string
	// Env is added to the environment of this process.
	Env []string
	// Dir is the working directory, "/" when empty.
	Dir string
	// Ready is asked every 50 ms until it returns nil. Nil means ready once
	// started. Each call gets a context that ends after two seconds.
	Ready func(context.Context) error
	// ReadyTimeout bounds the wait for Ready; 0 means one minute.
	ReadyTimeout time.Duration
	// StopTimeout is the time between SIGTERM and SIGKILL; 0 means 15 seconds.
	StopTimeout time.Duration
	// DieWithParent has the kernel kill the process when this one dies, for
	// tests that may be killed themselves. Only Linux can; elsewhere the next
	// command on the directory stops what was left.
	DieWithParent bool
}

// Process is what a pid file says.
type Process struct {
	Name string `json:"name"`
	Pid  int    `json:"pid"`
	// Started identifies the process among all that ever had this pid; opaque.
	Started string `json:"started"`
	// Command is the program with its arguments, for people.
	Command []string `json:"command"`
	// StopTimeout is Spec.StopTimeout with its default applied.
	StopTimeout time.Duration `json:"stopTimeout"`

	order int
	file  string
}

// Alive reports whether exactly this process still runs (a zombie does not).
func (p *Process) Alive() bool {
	started, err := startOf(p.Pid)
	return err == nil && started == p.Started
}

// Manager starts and stops the processes of one directory. Only
// [Manager.WaitReady] may be called beside another call; two commands exclude
// each other with [Manager.Lock].
type Manager struct {
	dir string
	log io.Writer
}

// ErrLocked is returned by [Manager.Lock] when another command works here.
var ErrLocked = errors.New("another command is working on this directory")

// NewManager returns the manager of dir, which is created. Progress lines such
// as "etcd ready 1.2s" go to log; nil discards them.
func NewManager(dir string, log io.Writer) (*Manager, error) {
	if log == nil {
		log = io.Discard
	}
	m := &Manager{dir: dir, log: log}
	for _, d := range []string{m.runDir(), filepath.Join(dir, "logs")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("process directory: %w", err)
		}
	}
	return m, nil
}

func (m *Manager) runDir() string { return filepath.Join(m.dir, "run") }

// LogFile is the log of the process called name.
func (m *Manager) LogFile(name string) string { return filepath.Join(m.dir, "logs", name+".log") }

// Start starts spec and waits until it is ready, unless a process of that name
// is running already, which must then be ready too. When the process dies or is
// not ready in time, the error holds the tail of its log, and the process is
// left for [Manager.StopAll].
func (m *Manager) Start(ctx context.Context, spec Spec) error {
	begin := time.Now()
	if err := m.Launch(spec); err != nil {
		return err
	}
	if err := m.WaitReady(ctx, spec); err != nil {
		return err
	}
	fmt.Fprintf(m.log, "%s ready %s\n", spec.Name, time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// Launch starts spec without waiting, unless it runs already.
func (m *Manager) Launch(spec Spec) error {
	running, err := m.List()
	if err != nil {
		return err
	}
	order := 1
	for _, p := range running {
		if p.Name == spec.Name {
			if p.Alive() {
				return nil
			}
			if err := os.Remove(p.file); err != nil {
				return fmt.Errorf("%s: remove stale pid file: %w", spec.Name, err)
			}
			continue
		}
		order = max(order, p.order+1)
	}
	logFile, err := os.OpenFile(m.LogFile(spec.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: log file: %w", spec.Name, err)
	}
	defer logFile.Close()
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Dir = spec.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = attributes(spec.DieWithParent)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	// Reap the child if it dies while this process lives; a zombie would
	// otherwise keep its pid. The result is in its log.
	go cmd.Wait() //nolint:errcheck // the exit status of a daemon is of no use here
	return m.record(spec, cmd, order)
}

func (m *Manager) record(spec Spec, cmd *exec.Cmd, order int) error {
	started, err := startOf(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("%s ended at once: %w\n%s", spec.Name, err, m.Tail(spec.Name))
	}
	p := Process{
		Name: spec.Name, Pid: cmd.Process.Pid, Started: started,
		Command: append([]string{spec.Path}, spec.Args...), StopTimeout: spec.StopTimeout,
	}
	if p.StopTimeout == 0 {
		p.StopTimeout = defaultStopTimeout
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		path := filepath.Join(m.runDir(), fmt.Sprintf("%02d-%s.json", order, spec.Name))
		if err = os.WriteFile(path+".tmp", append(data, '\n'), 0o644); err == nil {
			err = os.Rename(path+".tmp", path)
		}
	}
	if err != nil {
		_ = cmd.Process.Kill() // without a pid file nobody could stop it later
		return fmt.Errorf("%s: pid file: %w", spec.Name, err)
	}
	return nil
}

// WaitReady waits until the process of spec, which must have been launched, is
// ready, or has died, or its ReadyTimeout has passed.
func (m *Manager) WaitReady(ctx context.Context, spec Spec) error {
	p, err := m.Get(spec.Name)
	if err != nil {
		return err
	}
	timeout := spec.ReadyTimeout
	if timeout == 0 {
		timeout = defaultReadyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error
	for {
		if p == nil || !p.Alive() {
			return fmt.Errorf("%s has died; the end of %s:\n%s", spec.Name, m.LogFile(spec.Name), m.Tail(spec.Name))
		}
		if spec.Ready == nil {
			return nil
		}
		attempt, stop := context.WithTimeout(ctx, 2*time.Second)
		last = spec.Ready(attempt)
		stop()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w; the end of %s:\n%s",
				spec.Name, timeout, last, m.LogFile(spec.Name), m.Tail(spec.Name))
		case <-time.After(pollInterval):
		}
	}
}

// Get returns the process called name, or nil when there is no pid file for it.
func (m *Manager) Get(name string) (*Process, error) {
	all, err := m.List()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, nil
}

// List returns what the pid files say, in start order, dead processes included.
func (m *Manager) List() ([]*Process, error) {
	files, err := filepath.Glob(filepath.Join(m.runDir(), "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Process
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("pid file: %w", err)
		}
		p := &Process{file: file}
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("pid file %s: %w", file, err)
		}
		if _, err := fmt.Sscanf(filepath.Base(file), "%d-", &p.order); err != nil {
			return nil, fmt.Errorf("pid file %s: its name has no number", file)
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b *Process) int { return a.order - b.order })
	return all, nil
}

// StopAll stops every process in the reverse order of their start. It goes on
// after an error and returns all of them joined. No process is no error.
func (m *Manager) StopAll(ctx context.Context) error {
	all, err := m.List()
	if err != nil {
		return err
	}
	slices.Reverse(all)
	var errs []error
	for _, p := range all {
		errs = append(errs, m.stop(ctx, p))
	}
	return errors.Join(errs...)
}

// Stop stops the process called name; that it is not running is no error.
func (m *Manager) Stop(ctx context.Context, name string) error {
	p, err := m.Get(name)
	if err != nil || p == nil {
		return err
	}
	return m.stop(ctx, p)
}

func (m *Manager) stop(ctx context.Context, p *Process) error {
	begin := time.Now()
	if p.Alive() {
		if err := terminate(ctx, p); err != nil {
			return err
		}
		fmt.Fprintf(m.log, "%s stopped %s\n", p.Name, time.Since(begin).Round(100*time.Millisecond))
	}
	if err := os.Remove(p.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: pid file: %w", p.Name, err)
	}
	return nil
}

// terminate asks with SIGTERM, then insists with SIGKILL.
func terminate(ctx context.Context, p *Process) error {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, p.StopTimeout}, {syscall.SIGKILL, killTimeout}} {
		if err := syscall.Kill(p.Pid, step.sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s (pid %d): %w", p.Name, p.Pid, err)
		}
		deadline := time.Now().Add(step.wait)
		for time.Now().Before(deadline) {
			if !p.Alive() {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("stop %s (pid %d): %w", p.Name, p.Pid, ctx.Err())
			case <-time.After(pollInterval / 5):
			}
		}
	}
	return fmt.Errorf("%s (pid %d) survives SIGKILL for %s", p.Name, p.Pid, killTimeout)
}

// Tail returns the last lines of a process's log, indented, for error messages.
func (m *Manager) Tail(name string) string {
	const limit = 64 << 10
	f, err := os.Open(m.LogFile(name))
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > limit {
		if _, err := f.Seek(-limit, io.SeekEnd); err != nil {
			return "  (" + err.Error() + ")"
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	lines := strings.Split(string(bytes.TrimRight(data, "\n")), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-tailLines):], "\n  ")
}

// Lock keeps other commands from working on this directory until unlock is
// called or this process ends. It does not wait: when another command holds the
// lock the error is [ErrLocked].
func (m *Manager) Lock() (unlock func(), err error) {
	path := filepath.Join(m.dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", m.dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
