package rig

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultMaxRecord is containerd's max_container_log_line_size: longer lines
// become several records with tag P.
const DefaultMaxRecord = 16 << 10

// Rotation is the log rotation of a container; the zero value never rotates by
// itself.
type Rotation struct {
	MaxBytes    int64         // rotate when a write has made the file at least this big
	MinInterval time.Duration // at most one rotation in this time, as the kubelet's monitor
	MaxFiles    int           // files kept, the live one included; 0 means 5
}

// Line is one logical line as a container wrote it.
type Line struct {
	Time   time.Time // of its first record
	Stream Stream
	Text   string
}

// Instance is one run of a container.
type Instance struct {
	id           string
	restartCount int32
	started      time.Time
	log          *logFile

	mu       sync.Mutex
	running  bool
	finished time.Time
	exitCode int32
	lines    []Line
	partial  map[Stream]*Line // begun, not ended
}

// ID is the container ID with its scheme, as in the pod status.
func (in *Instance) ID() string { return containerIDPrefix + in.id }

// RestartCount is 0 for the first run of the container.
func (in *Instance) RestartCount() int32 { return in.restartCount }

// LogPath is the live log file.
func (in *Instance) LogPath() string { return in.log.path }

// Running reports whether the run has not ended.
func (in *Instance) Running() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.running
}

// Written returns the lines written so far, in file order; lines begun with
// [Container.WritePartial] appear when they end. It is empty for pods with
// NoBook.
func (in *Instance) Written() []Line {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]Line(nil), in.lines...)
}

func (in *Instance) terminated() *corev1.ContainerStateTerminated {
	in.mu.Lock()
	defer in.mu.Unlock()
	reason := "Completed"
	if in.exitCode != 0 {
		reason = "Error"
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: in.exitCode, Reason: reason, ContainerID: in.ID(),
		StartedAt: metav1.NewTime(in.started), FinishedAt: metav1.NewTime(in.finished),
	}
}

func (in *Instance) exit(code int32) error {
	in.mu.Lock()
	in.running, in.exitCode, in.finished = false, code, time.Now()
	in.mu.Unlock()
	return in.log.close()
}

// note keeps the book: rec belongs to the line that its stream has begun.
func (in *Instance) note(rec Record) {
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.partial[rec.Stream]
	if p == nil {
		p = &Line{Time: rec.Time, Stream: rec.Stream}
	}
	p.Text += string(rec.Data)
	if rec.Partial {
		in.partial[rec.Stream] = p
		return
	}
	delete(in.partial, rec.Stream)
	in.lines = append(in.lines, *p)
}

// Kind tells where in the pod a container stands.
type Kind int

// The kinds of containers; a sidecar is an init container that keeps running.
const (
	App Kind = iota
	Init
	Sidecar
	Ephemeral
)

// Container is one container of a [Pod]: the test writes through it, and it
// plays the container runtime. Its methods may be called from several
// goroutines; writes from one goroutine keep their order.
type Container struct {
	pod  *Pod
	name string
	kind Kind

	mu        sync.Mutex
	cur       *Instance // running or ended last; nil before the first run
	last      *Instance // the run before cur, still readable as "previous"
	all       []*Instance
	waiting   string // reason, when the container waits
	lastRot   time.Time
	rotations int
}

// Name is the container's name.
func (c *Container) Name() string { return c.name }

// Instance returns the running or last ended run, nil if there was none.
func (c *Container) Instance() *Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cur
}

// Instances returns every run so far, oldest first.
func (c *Container) Instances() []*Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Instance(nil), c.all...)
}

// Rotations returns how often the log was rotated, by hand or by size.
func (c *Container) Rotations() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rotations
}

// Write logs one line (without newline) with the present time, in as many
// records as its length asks for.
func (c *Container) Write(stream Stream, line string) error {
	return c.WriteAt(c.pod.now(), stream, line)
}

// WriteAt is Write with a chosen time.
func (c *Container) WriteAt(t time.Time, stream Stream, line string) error {
	recs := make([]Record, 0, 1+len(line)/DefaultMaxRecord)
	for len(line) > DefaultMaxRecord {
		recs = append(recs, Record{Time: t, Stream: stream, Partial: true, Data: []byte(line[:DefaultMaxRecord])})
		line = line[DefaultMaxRecord:]
	}
	return c.Records(append(recs, Record{Time: t, Stream: stream, Data: []byte(line)})...)
}

// WritePartial logs the beginning or middle of a line; the next Write to the
// stream ends it.
func (c *Container) WritePartial(stream Stream, data string) error {
	return c.Records(Record{Time: c.pod.now(), Stream: stream, Partial: true, Data: []byte(data)})
}

// Records appends CRI records as given, with one write to the file.
func (c *Container) Records(recs ...Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil {
		return fmt.Errorf("container %s of pod %s has not started", c.name, c.pod.Name)
	}
	if err := c.cur.log.write(recs...); err != nil {
		return err
	}
	if !c.pod.spec.NoBook {
		for _, r := range recs {
			c.cur.note(r)
		}
	}
	r := c.pod.spec.Rotation
	if r.MaxBytes > 0 && c.cur.log.bytes() >= r.MaxBytes && time.Since(c.lastRot) >= r.MinInterval {
		return c.rotateLocked(RotateOptions{})
	}
	return nil
}

// Raw appends bytes that need not be a CRI record.
func (c *Container) Raw(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil {
		return fmt.Errorf("container %s of pod %s has not started", c.name, c.pod.Name)
	}
	return c.cur.log.raw(b)
}

// Rotate rotates the log as kubelet and containerd do.
func (c *Container) Rotate() error { return c.RotateWith(RotateOptions{}) }

// RotateWith rotates with a fault or with late lines.
func (c *Container) RotateWith(opts RotateOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil {
		return fmt.Errorf("container %s of pod %s has not started", c.name, c.pod.Name)
	}
	for _, r := range opts.LateToOld {
		if !c.pod.spec.NoBook {
			c.cur.note(r)
		}
	}
	return c.rotateLocked(opts)
}

func (c *Container) rotateLocked(opts RotateOptions) error {
	c.lastRot = time.Now()
	c.rotations++
	return c.cur.log.rotate(opts)
}

// start begins a new run. The run before the previous one is collected: a
// kubelet keeps one dead instance per container.
func (c *Container) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur != nil && c.cur.Running() {
		return fmt.Errorf("container %s of pod %s is running", c.name, c.pod.Name)
	}
	in := &Instance{id: newID(), started: time.Now(), running: true, partial: map[Stream]*Line{}}
	if c.cur != nil {
		in.restartCount = c.cur.restartCount + 1
	}
	maxFiles := c.pod.spec.Rotation.MaxFiles
	if maxFiles == 0 {
		maxFiles = defaultMaxFiles
	}
	log, err := newLogFile(filepath.Join(c.pod.dir, c.name, strconv.Itoa(int(in.restartCount))+".log"), maxFiles, c.pod.spec.shut)
	if err != nil {
		return err
	}
	in.log = log
	if c.last != nil {
		c.pod.node.Kubelet.dropInstance(c.last)
		if err := c.discard(c.last); err != nil {
			return err
		}
	}
	c.last, c.cur, c.waiting = c.cur, in, ""
	c.all = append(c.all, in)
	c.pod.node.Kubelet.addInstance(in)
	return nil
}

func (c *Container) exit(code int32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil || !c.cur.Running() {
		return nil
	}
	return c.cur.exit(code)
}

// collect removes the files and the runtime's memory of every run.
func (c *Container) collect() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, in := range []*Instance{c.cur, c.last} {
		if in == nil {
			continue
		}
		c.pod.node.Kubelet.dropInstance(in)
		if err := c.discard(in); err != nil {
			return err
		}
	}
	return nil
}

// discard ends the writing of a run and removes its files.
func (c *Container) discard(in *Instance) error {
	if c.pod.spec.KeepFiles {
		return in.log.close()
	}
	return in.log.remove()
}

func (c *Container) status() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := corev1.ContainerStatus{Name: c.name, Image: c.pod.spec.image(), ImageID: c.pod.spec.image()}
	if c.last != nil {
		st.LastTerminationState.Terminated = c.last.terminated()
	}
	if c.cur != nil {
		st.ContainerID, st.RestartCount = c.cur.ID(), c.cur.restartCount
	}
	switch {
	case c.waiting != "" || c.cur == nil:
		if c.cur != nil {
			st.LastTerminationState.Terminated = c.cur.terminated()
		}
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.waiting}
	case c.cur.Running():
		started := true
		st.Ready, st.Started = true, &started
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.cur.started)}
	default:
		st.State.Terminated = c.cur.terminated()
	}
	return st
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}
