package snapshot

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Limits of reading logs: doctor reads ends of a few, never all.
const (
	// LogWindow is how far back the logs of collectors and Grafana are read.
	LogWindow = 10 * time.Minute

	crashLines   = 20
	stackLines   = 400
	maxLogBytes  = 256 << 10
	maxCrashed   = 4
	maxStackLogs = 8
	maxSilent    = 8 // namespaces, of which one pod each is read
	silentLines  = 20
	logTimeout   = 3 * time.Second
	// onItsWay is how long a line may need to the store, and doctor to ask.
	onItsWay = time.Minute
)

// LogPurpose says why an excerpt was read.
type LogPurpose string

// The purposes.
const (
	CrashLog     LogPurpose = "crash"     // the last words of the run before
	CollectorLog LogPurpose = "collector" // what a collector complains about
	GrafanaLog   LogPurpose = "grafana"   // Grafana's, or its sidecar's
	SilentLog    LogPurpose = "silent"    // does a pod of a silent namespace log at all?
)

// LogExcerpt is the end of a container's log.
type LogExcerpt struct {
	Purpose   LogPurpose
	Pod       *corev1.Pod
	Container string
	// Lines are the last ones, oldest first, without line ends.
	Lines []string
	// Err says why it could not be read, Right what lacks for it.
	Err   error
	Right *Right
}

// Logs are the excerpts that were read for a purpose.
func (s *Snapshot) Logs(p LogPurpose) []*LogExcerpt {
	s.t.touch(Logs)
	var out []*LogExcerpt
	for _, e := range s.d.logs {
		if e.Purpose == p {
			out = append(out, e)
		}
	}
	return out
}

// SetLogs is for tests.
func (s *Snapshot) SetLogs(l []*LogExcerpt) { s.d.logs = l }

// readLogs reads the ends of the logs that checks look at.
func (s *Snapshot) readLogs(ctx context.Context, c *kube.Client) {
	if s.d.missing[Server] != nil {
		return
	}
	if m := s.d.missing[Pods]; m != nil {
		s.SetMissing(Logs, m)
		return
	}
	want := slices.Concat(s.crashed(), s.stackLogs(), s.silent())
	if len(want) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	l := &live{s: s, c: c, all: false}
	lacking := map[string]*Right{}
	for _, e := range want {
		ns := e.Pod.Namespace
		if _, asked := lacking[ns]; asked {
			continue
		}
		lacking[ns] = nil
		if r := (Right{Verb: "get", Resource: string(Pods), Subresource: "log", Namespace: ns}); !l.may(ctx, r) {
			lacking[ns] = &r
		}
	}
	var g errgroup.Group
	g.SetLimit(parallelLists)
	for _, e := range want {
		if r := lacking[e.Pod.Namespace]; r != nil {
			e.Right, e.Err = r, &Missing{Right: r}
			continue
		}
		g.Go(func() error {
			e.read(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // no function fails
	s.d.logs = want
	if !slices.ContainsFunc(want, func(e *LogExcerpt) bool { return e.Right == nil }) {
		s.SetMissing(Logs, &Missing{Right: want[0].Right})
	}
}

// crashed are containers of log stacks that start again and again.
func (s *Snapshot) crashed() []*LogExcerpt {
	var out []*LogExcerpt
	for _, p := range list[corev1.Pod](s, Pods) {
		if ProductOf(p.Labels, &p.Spec) == "" {
			continue
		}
		for _, st := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if w := st.State.Waiting; w != nil && w.Reason == "CrashLoopBackOff" && len(out) < maxCrashed {
				out = append(out, &LogExcerpt{Purpose: CrashLog, Pod: p, Container: st.Name})
			}
		}
	}
	return out
}

// stackLogs are those of one running pod of each collector and each Grafana.
func (s *Snapshot) stackLogs() []*LogExcerpt {
	var out []*LogExcerpt
	seen := map[string]bool{}
	for _, p := range list[corev1.Pod](s, Pods) {
		product := ProductOf(p.Labels, &p.Spec)
		if p.Status.Phase != corev1.PodRunning || !product.IsCollector() && product != Logstack && product != Grafana {
			continue
		}
		key := p.Namespace + "/" + p.Name
		for _, o := range p.OwnerReferences {
			key = p.Namespace + "/" + o.Name
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		for _, ct := range p.Spec.Containers {
			e := &LogExcerpt{Purpose: CollectorLog, Pod: p, Container: ct.Name}
			switch {
			case product == Grafana && (productOfImage(ct.Image) == Grafana || strings.Contains(ct.Name, "datasources")):
				e.Purpose = GrafanaLog
			case product == Grafana || productOfImage(ct.Image) != product && len(p.Spec.Containers) > 1:
				continue
			}
			out = append(out, e)
		}
	}
	return out[:min(len(out), maxStackLogs)]
}

// collectAnnotation on a pod or a namespace, "false", takes it out of what our
// collector reads (podlogs.AnnotationCollect).
const collectAnnotation = "logstack.dev/collect"

// Silent are the namespaces of which nothing was stored lately although a pod
// runs there for longer than that, with one such pod each, in order of their name.
// Those that are not to be collected are left out.
func (s *Snapshot) Silent() []*corev1.Pod {
	f := s.Flow()
	if f == nil || f.Err != nil || s.Taken.Sub(f.Oldest) < FlowRecent {
		return nil // what was before the installation, nobody knows
	}
	only := s.collected()
	first := map[string]*corev1.Pod{}
	for _, p := range s.Pods() {
		if ns, ok := Find(list[corev1.Namespace](s, Namespaces), "", p.Namespace); ok && ns.Annotations[collectAnnotation] == "false" || p.Annotations[collectAnnotation] == "false" || only != nil && !slices.Contains(only, p.Namespace) {
			continue
		}
		if p.Status.Phase != corev1.PodRunning || f.Recent[p.Namespace] > 0 || p.Status.StartTime == nil || s.Taken.Sub(p.Status.StartTime.Time) < FlowRecent {
			continue
		}
		if first[p.Namespace] == nil {
			first[p.Namespace] = p
		}
	}
	var out []*corev1.Pod
	for _, ns := range sortedKeys(first) {
		out = append(out, first[ns])
	}
	return out
}

// collected are the namespaces that our collector is told to read; nil is all.
func (s *Snapshot) collected() []string {
	set, ok := Find(s.StatefulSets(), s.Namespace, s.Name)
	if !ok {
		return nil
	}
	var out []string
	for _, c := range set.Spec.Template.Spec.Containers {
		for _, a := range c.Args {
			if v, ok := strings.CutPrefix(a, "--namespace="); ok {
				out = append(out, strings.Split(v, ",")...)
			}
		}
		for _, e := range c.Env {
			if e.Name == "LOGSTACK_NAMESPACE" && e.Value != "" {
				out = append(out, strings.Split(e.Value, ",")...)
			}
		}
	}
	return out
}

func (s *Snapshot) silent() []*LogExcerpt {
	var out []*LogExcerpt
	for _, p := range s.Silent() {
		if len(out) < maxSilent && len(p.Spec.Containers) > 0 {
			out = append(out, &LogExcerpt{Purpose: SilentLog, Pod: p, Container: p.Spec.Containers[0].Name})
		}
	}
	return out
}

// read fills in the lines.
func (e *LogExcerpt) read(ctx context.Context, c *kube.Client) {
	lines, limit := int64(stackLines), int64(maxLogBytes)
	since := int64(LogWindow.Seconds())
	o := &corev1.PodLogOptions{Container: e.Container, TailLines: &lines, LimitBytes: &limit, SinceSeconds: &since}
	switch e.Purpose {
	case CrashLog:
		lines, o.Previous, o.SinceSeconds = crashLines, true, nil
	case SilentLog:
		lines, since, o.Timestamps = silentLines, int64(FlowRecent.Seconds()), true
	case GrafanaLog:
		o.SinceSeconds = nil // it reads its files when it starts
	}
	body, err := c.Kube.CoreV1().Pods(e.Pod.Namespace).GetLogs(e.Pod.Name, o).Stream(ctx)
	if err != nil {
		e.Err = err
		if apierrors.IsForbidden(err) {
			e.Right = &Right{Verb: "get", Resource: string(Pods), Subresource: "log", Namespace: e.Pod.Namespace}
		}
		return
	}
	defer body.Close()
	sc := bufio.NewScanner(io.LimitReader(body, maxLogBytes))
	sc.Buffer(nil, maxLogBytes+1)
	for sc.Scan() {
		if line, ok := e.line(sc.Text()); ok {
			e.Lines = append(e.Lines, line)
		}
	}
	e.Err = sc.Err()
}

// line is one as it is kept. Of a silent namespace, those count that were written
// before the store was asked: a later one may be on its way.
func (e *LogExcerpt) line(s string) (string, bool) {
	if e.Purpose != SilentLog {
		return s, true
	}
	stamp, rest, _ := strings.Cut(s, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	return rest, err == nil && time.Since(at) > onItsWay
}
