package podlogs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// cluster is a node's kubelet in memory, as far as pods/log goes: it serves
// files of lines with the kubelet's rules. The real code of the kubelet is
// exercised by the tests on the API rig; this one is for faults that have to
// happen at a chosen moment, in simulated time.
type cluster struct {
	t      *testing.T
	client *fake.Clientset

	mu         sync.Mutex
	pods       map[string]*fakePod // by namespace/name
	version    int
	openFault  func(o *corev1.PodLogOptions) error
	bodyFault  func(o *corev1.PodLogOptions) *bodyFault
	opens      map[string]int
	openStream int
	// epoch grows when all open streams are cut, with cutErr.
	epoch  int
	cutErr error
	// maxFollow is when the kubelet ends a follow, maxSilence how long one may be
	// silent before something on the way ends it. Both look like a clean end; 0
	// is never.
	maxFollow, maxSilence time.Duration
	// blind follows never notice a rotation, as with kubelets before 1.29.
	blind bool
	// endText is what a follow ends with when its run has ended.
	endText string
	// stalled bodies deliver nothing.
	stalled bool
}

// bodyFault ends a body early.
type bodyFault struct {
	after int    // bytes delivered before
	text  string // appended to the body
	err   error  // io.EOF or a connection's error
	stuck bool   // see fakeBody.stuck
}

type fakePod struct {
	pod        *corev1.Pod
	containers map[string]*fakeContainer
	changed    chan struct{}
	gone       bool
}

type fakeContainer struct {
	current, previous *fakeRun
	runs              []*fakeRun // all of them, for the judge
}

// fakeRun is one run of a container; files are its generations, the last is live.
type fakeRun struct {
	id      string
	restart int32
	started time.Time
	ended   time.Time
	running bool
	reason  string // why it ended
	files   []*fakeFile
	seq     int
}

type fakeFile struct {
	lines []fakeLine
	born  time.Time
}

type fakeLine struct {
	ts   time.Time
	text string
	open bool // no newline
}

func newCluster(t *testing.T) *cluster {
	k := &cluster{t: t, pods: make(map[string]*fakePod), opens: make(map[string]int), client: fake.NewClientset()}
	k.client.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authv1.SelfSubjectAccessReview{Status: authv1.SubjectAccessReviewStatus{Allowed: true}}, nil
	})
	return k
}

// addPod creates a running pod with the containers named.
func (k *cluster) addPod(name string, containers ...string) *fakePod {
	return k.addPodOn("node-1", name, containers...)
}

func (k *cluster) addPodOn(node, name string, containers ...string) *fakePod {
	k.mu.Lock()
	p := &fakePod{containers: make(map[string]*fakeContainer), changed: make(chan struct{})}
	grace := int64(5)
	p.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), Labels: map[string]string{"app": "app-" + name}, CreationTimestamp: metav1.Now()},
		Spec:       corev1.PodSpec{NodeName: node, TerminationGracePeriodSeconds: &grace},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "10.0.0.1"},
	}
	for _, c := range containers {
		p.pod.Spec.Containers = append(p.pod.Spec.Containers, corev1.Container{Name: c})
		run := newRun(name, c, 0)
		p.containers[c] = &fakeContainer{current: run, runs: []*fakeRun{run}}
	}
	k.pods["default/"+name] = p
	k.status(p)
	pod := p.pod.DeepCopy()
	k.mu.Unlock()
	if _, err := k.client.CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		k.t.Fatal(err)
	}
	return p
}

func newRun(pod, container string, restart int32) *fakeRun {
	return &fakeRun{
		id: fmt.Sprintf("%s%s%04x", pod, container, restart), restart: restart,
		started: time.Now().Truncate(time.Second), running: true, files: []*fakeFile{{}},
	}
}

// status fills the pod's status from its containers. The lock is held.
func (k *cluster) status(p *fakePod) {
	k.version++
	p.pod.ResourceVersion = fmt.Sprint(1000 + k.version)
	p.pod.Status.ContainerStatuses = nil
	for _, c := range p.pod.Spec.Containers {
		f := p.containers[c.Name]
		s := corev1.ContainerStatus{Name: c.Name, ContainerID: "containerd://" + f.current.id, RestartCount: f.current.restart}
		if f.current.running {
			s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(f.current.started)}
		} else {
			s.State.Terminated = f.current.terminated()
		}
		if f.previous != nil {
			s.LastTerminationState.Terminated = f.previous.terminated()
		}
		p.pod.Status.ContainerStatuses = append(p.pod.Status.ContainerStatuses, s)
	}
}

func (r *fakeRun) terminated() *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ContainerID: "containerd://" + r.id, StartedAt: metav1.NewTime(r.started), FinishedAt: metav1.NewTime(r.ended.Truncate(time.Second)),
		Reason: r.reason,
	}
}

// change applies f to a pod and publishes its status, as the kubelet does.
func (k *cluster) change(p *fakePod, f func()) {
	k.mu.Lock()
	f()
	k.status(p)
	close(p.changed)
	p.changed = make(chan struct{})
	pod := p.pod.DeepCopy()
	gone := p.gone
	k.mu.Unlock()
	if gone {
		return
	}
	if _, err := k.client.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		k.t.Error(err)
	}
}

// touch wakes the readers of the pod's logs. The lock is held.
func (p *fakePod) touch() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// write appends lines to a container's live file.
func (k *cluster) write(p *fakePod, container string, texts ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	run := p.containers[container].current
	for _, text := range texts {
		k.writeLine(run, fakeLine{ts: time.Now(), text: text})
	}
	p.touch()
}

func (k *cluster) writeLine(run *fakeRun, l fakeLine) {
	file := run.files[len(run.files)-1]
	// containerd stamps every record by itself.
	if n := len(file.lines); n > 0 && !l.ts.After(file.lines[n-1].ts) && time.Now().Equal(l.ts) {
		l.ts = file.lines[n-1].ts.Add(time.Nanosecond)
	}
	file.lines = append(file.lines, l)
}

// number appends n lines with the container's running number.
func (k *cluster) number(p *fakePod, container string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	run := p.containers[container].current
	if !run.running {
		return
	}
	for range n {
		k.writeLine(run, fakeLine{ts: time.Now(), text: fmt.Sprintf("%d/%d", run.restart, run.seq)})
		run.seq++
	}
	traceOp("default/%s:%s wrote to %d/%d", p.pod.Name, container, run.restart, run.seq-1)
	p.touch()
}

// rotate begins a new file.
func (k *cluster) rotate(p *fakePod, container string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	run := p.containers[container].current
	run.files = append(run.files, &fakeFile{born: time.Now()})
	traceOp("default/%s:%s rotated", p.pod.Name, container)
	p.touch()
}

// exit ends the current run.
func (k *cluster) exit(p *fakePod, container string) {
	k.change(p, func() {
		run := p.containers[container].current
		run.running, run.ended = false, time.Now()
	})
}

// restart begins the next run.
func (k *cluster) restart(p *fakePod, container string) {
	k.change(p, func() {
		c := p.containers[container]
		if c.current.running {
			c.current.running, c.current.ended = false, time.Now()
		}
		c.previous = c.current
		c.current = newRun(p.pod.Name, container, c.previous.restart+1)
		c.runs = append(c.runs, c.current)
	})
}

// terminate asks the pod to stop.
func (k *cluster) terminate(p *fakePod) {
	k.change(p, func() {
		now := metav1.Now()
		p.pod.DeletionTimestamp = &now
		p.pod.DeletionGracePeriodSeconds = p.pod.Spec.TerminationGracePeriodSeconds
	})
}

// remove deletes the pod object.
func (k *cluster) remove(p *fakePod) {
	k.mu.Lock()
	p.gone = true
	p.touch()
	k.mu.Unlock()
	if err := k.client.CoreV1().Pods("default").Delete(context.Background(), p.pod.Name, metav1.DeleteOptions{}); err != nil {
		k.t.Error(err)
	}
}

// cut ends all open streams.
func (k *cluster) cut(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epoch++
	k.cutErr = err
	for _, p := range k.pods {
		p.touch()
	}
}

// open implements opener with the rules of the API server and the kubelet.
func (k *cluster) open(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opens[optionsKind(o)]++
	if k.openFault != nil {
		if err := k.openFault(o); err != nil {
			return nil, err
		}
	}
	p := k.pods[namespace+"/"+pod]
	if p == nil || p.gone {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, pod)
	}
	c := p.containers[o.Container]
	if c == nil {
		return nil, apierrors.NewBadRequest("container " + o.Container + " is not valid for pod " + pod)
	}
	run := c.current
	if o.Previous {
		run = c.previous
	}
	if run == nil {
		return nil, apierrors.NewBadRequest("previous terminated container not found")
	}
	b := &fakeBody{epoch: k.epoch, opened: time.Now(), k: k, p: p, run: run, ctx: ctx, o: o, gen: len(run.files) - 1, fault: &bodyFault{after: -1}}
	if o.SinceTime != nil {
		b.since = o.SinceTime.Time
	}
	if o.TailLines != nil {
		b.next = max(len(run.files[b.gen].lines)-int(*o.TailLines), 0)
	}
	if o.LimitBytes != nil {
		b.fault = &bodyFault{after: int(*o.LimitBytes), err: io.EOF}
	}
	if k.bodyFault != nil {
		if f := k.bodyFault(o); f != nil {
			b.fault, b.stuck = f, f.stuck
		}
	}
	b.blind = k.blind
	k.openStream++
	return b, nil
}

func optionsKind(o *corev1.PodLogOptions) string {
	switch {
	case o.Follow:
		return "follow"
	case o.TailLines != nil || o.LimitBytes != nil:
		return "probe"
	}
	return "catchup"
}

// fakeBody is one response.
type fakeBody struct {
	k         *cluster
	p         *fakePod
	run       *fakeRun
	ctx       context.Context
	o         *corev1.PodLogOptions
	since     time.Time
	gen, next int
	buf       []byte
	sent      int
	fault     *bodyFault
	failed    bool
	closed    bool
	epoch     int
	// stuck follows stay on a file that was rotated just after they were
	// opened, before they first looked at the directory, until the next rotation.
	stuck  bool
	blind  bool // see cluster.blind
	said   bool // endText
	opened time.Time
	spoke  time.Time // last delivered something
}

func (b *fakeBody) Read(p []byte) (int, error) {
	for {
		if b.ctx.Err() != nil {
			return 0, b.ctx.Err()
		}
		b.k.mu.Lock()
		if b.epoch != b.k.epoch {
			b.k.mu.Unlock()
			return 0, b.k.cutErr
		}
		if b.failed {
			err := b.fault.err
			if errors.Is(err, io.EOF) && b.p.pod.DeletionTimestamp != nil {
				// A clean end just when a pod ends is believed.
				err = io.ErrUnexpectedEOF
			}
			b.k.mu.Unlock()
			return 0, err
		}
		if len(b.buf) == 0 && !(b.k.stalled && b.o.Follow) {
			b.refill()
		}
		if n := b.fault.after - b.sent; b.fault.after >= 0 && len(b.buf) >= n {
			b.buf = append(b.buf[:max(n, 0):max(n, 0)], b.fault.text...)
			b.failed = true
			n := copy(p, b.buf)
			b.k.mu.Unlock()
			if n == 0 {
				continue
			}
			return n, nil // the text is short, so it fits
		}
		if len(b.buf) > 0 {
			n := copy(p, b.buf)
			b.buf = b.buf[n:]
			b.sent += n
			b.spoke = time.Now()
			b.k.mu.Unlock()
			return n, nil
		}
		changed, end := b.p.changed, b.atEnd()
		cut := b.cutAt()
		b.k.mu.Unlock()
		if end && b.o.Follow && b.k.endText != "" && !b.said {
			b.said = true
			b.buf = append(b.buf, b.k.endText...)
			continue
		}
		if end || !cut.IsZero() && !time.Now().Before(cut) {
			return 0, io.EOF
		}
		var timeout <-chan time.Time
		if !cut.IsZero() {
			timeout = time.After(time.Until(cut))
		}
		select {
		case <-changed:
		case <-timeout:
		case <-b.ctx.Done():
		}
	}
}

// refill renders the next lines of the file. The lock is held.
func (b *fakeBody) refill() {
	for {
		file := b.run.files[b.gen]
		for b.next < len(file.lines) && len(b.buf) < 1000 {
			l := file.lines[b.next]
			b.next++
			if l.ts.Before(b.since) {
				continue
			}
			b.buf = append(b.buf, l.ts.UTC().Format("2006-01-02T15:04:05.000000000Z07:00")...)
			b.buf = append(append(b.buf, ' '), l.text...)
			if !l.open {
				b.buf = append(b.buf, '\n')
			}
		}
		if len(b.buf) > 0 || !b.o.Follow || b.gen == len(b.run.files)-1 || b.blind {
			return
		}
		if b.stuck && b.gen == len(b.run.files)-2 && b.run.files[b.gen+1].born.Sub(b.opened) < 200*time.Millisecond {
			return
		}
		// The watcher saw the new file; one that came and went while the
		// reader was busy is never read.
		b.gen, b.next = len(b.run.files)-1, 0
	}
}

// cutAt is when something on the way ends the body, zero for never. The lock is
// held.
func (b *fakeBody) cutAt() (at time.Time) {
	if !b.o.Follow {
		return at
	}
	if d := b.k.maxFollow; d > 0 {
		at = b.opened.Add(d)
	}
	if d := b.k.maxSilence; d > 0 {
		if silent := laterOf(b.opened, b.spoke).Add(d); at.IsZero() || silent.Before(at) {
			at = silent
		}
	}
	return at
}

// atEnd says whether the body ends here. The lock is held.
func (b *fakeBody) atEnd() bool { return !b.o.Follow || !b.run.running }

func (b *fakeBody) Close() error {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.k.openStream--
	}
	return nil
}

// memory is a store that keeps everything in order of arrival.
type memory struct {
	mu      sync.Mutex
	streams map[string][]model.Entry
	marks   map[string][]byte
	apps    map[string]int // entries by the label app
	// fail refuses batches.
	fail    error
	block   chan struct{}
	appends int
}

func newMemory() *memory {
	return &memory{streams: make(map[string][]model.Entry), marks: make(map[string][]byte), apps: make(map[string]int)}
}

func (m *memory) Append(_ context.Context, b *model.Batch) error {
	m.mu.Lock()
	block := m.block
	m.mu.Unlock()
	if block != nil {
		<-block
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.appends++
	for _, s := range b.Streams {
		name := s.Labels.Get("instance")
		m.apps[s.Labels.Get("app")] += len(s.Entries)
		for _, e := range s.Entries {
			e.Line = strings.Clone(e.Line)
			m.streams[name] = append(m.streams[name], e)
		}
	}
	for _, mark := range b.Marks {
		if mark.Value == nil {
			delete(m.marks, mark.Key)
		} else {
			m.marks[mark.Key] = mark.Value
		}
	}
	return nil
}

func (m *memory) Marks(prefix string) map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]byte)
	for k, v := range m.marks {
		if strings.HasPrefix(k, prefix) {
			out[k] = v
		}
	}
	return out
}

// lines renders a stream: lines as they are, gaps in angle brackets.
func (m *memory) lines(instance string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.streams[instance] {
		if reason := e.Metadata.Get(MetaGap); reason != "" {
			out = append(out, "<"+reason+">")
			continue
		}
		out = append(out, e.Line)
	}
	return out
}

var traceFlag = flag.Bool("trace", false, "log what the collector does")

func traceOp(format string, args ...any) {
	if *traceFlag {
		fmt.Fprintf(os.Stderr, "%s      OP %s\n", time.Now().UTC().Format("time=2006-01-02T15:04:05.000Z"), fmt.Sprintf(format, args...))
	}
}

var errKilled = errors.New("killed")

// collecting is a running collector.
type collecting struct {
	*Collector
	cancel context.CancelFunc
	done   chan struct{}
	mem    *memory
}

func startCollector(t *testing.T, k *cluster, m *memory, change ...func(*Options)) *collecting {
	t.Helper()
	o := Options{API: fakeAPI{k.client}, RESTConfig: &rest.Config{}, Sink: m, Marks: m, opener: k, FlushInterval: 50 * time.Millisecond}
	if *traceFlag {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &collecting{Collector: c, cancel: cancel, done: make(chan struct{}), mem: m}
	go func() {
		defer close(r.done)
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return r
}

// stop ends the collector in good order.
func (c *collecting) stop() {
	c.cancel()
	<-c.done
}

// kill ends it as kill -9 does: nothing more is stored.
func (c *collecting) kill() {
	c.mem.mu.Lock()
	c.mem.fail = errKilled
	c.mem.mu.Unlock()
	c.stop()
	c.mem.mu.Lock()
	c.mem.fail = nil
	c.mem.mu.Unlock()
}
