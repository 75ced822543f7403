package kubevents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an API server in memory, as far as events go: objects, and the
// history of changes since the last compaction.
type server struct {
	mu        sync.Mutex
	version   int
	compacted int // versions up to here are forgotten
	events    map[string]*corev1.Event
	history   []watch.Event
	watches   map[*serverWatch]bool
	forbidden map[string]bool // "list ns", "watch ns"
	listFault func() error
	lists     int
	// replays is how many old changes a watch sends again, as duplicates.
	replays int
}

func newServer() *server {
	return &server{version: 100, events: make(map[string]*corev1.Event), watches: make(map[*serverWatch]bool), forbidden: make(map[string]bool)}
}

// serverWatch is an open watch.
type serverWatch struct {
	s         *server
	namespace string
	results   chan watch.Event
	queue     []watch.Event
	wake      chan struct{}
	stop      chan struct{}
	stopped   sync.Once
	cut       bool // the connection broke
}

func (w *serverWatch) Stop()                          { w.stopped.Do(func() { close(w.stop) }) }
func (w *serverWatch) ResultChan() <-chan watch.Event { return w.results }

// run delivers what is queued until the watch is stopped, cut or timed out.
func (w *serverWatch) run(timeout time.Duration) {
	defer close(w.results)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		w.s.mu.Lock()
		var e watch.Event
		has := len(w.queue) > 0
		if has {
			e, w.queue = w.queue[0], w.queue[1:]
		}
		cut := w.cut
		w.s.mu.Unlock()
		if cut {
			return
		}
		if !has {
			select {
			case <-w.wake:
			case <-w.stop:
				return
			case <-timer.C:
				return
			}
			continue
		}
		select {
		case w.results <- e:
		case <-w.stop:
			return
		}
	}
}

func (w *serverWatch) send(e watch.Event) {
	if obj, ok := e.Object.(*corev1.Event); ok {
		if w.namespace != "" && obj.Namespace != w.namespace {
			return
		}
		e.Object = obj.DeepCopy()
	}
	w.queue = append(w.queue, e)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// change publishes a change. The lock is held.
func (s *server) change(t watch.EventType, e *corev1.Event) {
	s.version++
	e.ResourceVersion = strconv.Itoa(s.version)
	s.history = append(s.history, watch.Event{Type: t, Object: e.DeepCopy()})
	for w := range s.watches {
		w.send(s.history[len(s.history)-1])
	}
}

// occur makes an event occur once more, as a recorder does.
func (s *server) occur(name string, change ...func(*corev1.Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.events[name]
	t := watch.Modified
	if e == nil {
		t = watch.Added
		e = &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), CreationTimestamp: metav1.Now()},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web-0", UID: "pod-uid", FieldPath: "spec.containers{app}"},
			Reason:         "BackOff", Type: "Warning", Message: "Back-off restarting",
			Source: corev1.EventSource{Component: "kubelet", Host: "node-1"},
		}
		s.events[name] = e
	}
	e.Count++
	e.LastTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
	for _, f := range change {
		f(e)
	}
	s.change(t, e)
}

// touch changes an event without an occurrence.
func (s *server) touch(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.events[name]
	e.Annotations = map[string]string{"touched": strconv.Itoa(s.version)}
	s.change(watch.Modified, e)
}

// expire removes an event.
func (s *server) expire(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.events[name]
	delete(s.events, name)
	s.change(watch.Deleted, e)
}

// compact forgets the history: what is watched from before it gets 410.
func (s *server) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = s.version
	s.history = nil
}

// cut breaks all watches; with status, after an error message of that code.
func (s *server) cut(code int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if code != 0 {
			w.send(watch.Event{Type: watch.Error, Object: &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: metav1.StatusReasonExpired}})
			continue
		}
		w.cut = true
		w.send(watch.Event{Type: watch.Bookmark}) // wakes it
	}
}

func (s *server) ListWatch(resource, namespace string) cache.ListerWatcher {
	return &serverScope{s: s, namespace: namespace}
}

func (s *server) Review(_ context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := r.DeepCopy()
	a := r.Spec.ResourceAttributes
	out.Status.Allowed = a.Resource == "events" && a.Group == "" && !s.forbidden[a.Verb+" "+a.Namespace]
	return out, nil
}

type serverScope struct {
	s         *server
	namespace string
}

func (l *serverScope) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

func (l *serverScope) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

// ListWithContext pages through the objects by name; the continue token is the
// name of the next one.
func (l *serverScope) ListWithContext(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	if s.listFault != nil {
		if err := s.listFault(); err != nil {
			return nil, err
		}
	}
	out := &corev1.EventList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	var names []string
	for name, e := range s.events {
		if (l.namespace == "" || e.Namespace == l.namespace) && name >= o.Continue {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if int64(len(out.Items)) == min(o.Limit, 7) {
			out.Continue = name
			break
		}
		out.Items = append(out.Items, *s.events[name].DeepCopy())
	}
	return out, nil
}

func (l *serverScope) WatchWithContext(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	from, err := strconv.Atoi(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if from < s.compacted {
		return nil, apierrors.NewResourceExpired("too old")
	}
	w := &serverWatch{s: s, namespace: l.namespace, results: make(chan watch.Event), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	for _, e := range s.history {
		if v, _ := strconv.Atoi(e.Object.(*corev1.Event).ResourceVersion); v > from-s.replays {
			w.send(e)
		}
	}
	s.watches[w] = true
	go func() {
		w.run(time.Duration(*o.TimeoutSeconds) * time.Second)
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
	}()
	return w, nil
}

// memory is a store that keeps everything in order of arrival.
type memory struct {
	mu      sync.Mutex
	entries []stored
	marks   map[string][]byte
	fail    func(n int) error // n counts calls from 1
	calls   int
}

type stored struct {
	labels labels.Labels
	model.Entry
}

var errRefused = errors.New("refused")

func newMemory() *memory { return &memory{marks: make(map[string][]byte)} }

func (m *memory) Append(ctx context.Context, b *model.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.fail != nil {
		if err := m.fail(m.calls); err != nil {
			return err
		}
	}
	for _, s := range b.Streams {
		for _, e := range s.Entries {
			m.entries = append(m.entries, stored{s.Labels, e})
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

// occurrences renders what is stored as "message#count", gaps as "<gap>", sorted.
func (m *memory) occurrences() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.entries {
		if e.Metadata.Has(MetaGap) {
			out = append(out, "<gap>")
			continue
		}
		_, msg, _ := strings.Cut(e.Line, "msg=")
		out = append(out, fmt.Sprintf("%s#%s", strings.Trim(msg, `"`), e.Metadata.Get("count")))
	}
	slices.Sort(out)
	return out
}

// running is a collector in the background.
type running struct {
	*Collector
	cancel context.CancelFunc
	done   chan struct{}
}

func start(t *testing.T, s *server, m *memory, change ...func(*Options)) *running {
	t.Helper()
	o := Options{API: s, Sink: m, Marks: m, Pods: func(_, name, _, container string) (labels.Labels, PodState) {
		if name == "quiet" {
			return labels.EmptyLabels(), PodExcluded
		}
		if name != "web-0" {
			return labels.EmptyLabels(), PodUnknown
		}
		b := labels.NewBuilder(labels.FromStrings("app", "web", "service_name", "web", "namespace", "shop", "pod", name, "node", "node-1", "job", "kubernetes-pods"))
		if container != "" {
			b.Set("container", container)
			b.Set("instance", "shop/"+name+":"+container)
		}
		return b.Labels(), PodKnown
	}}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Collector: c, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		c.Run(ctx)
	}()
	return r
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}
