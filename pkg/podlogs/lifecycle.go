package podlogs

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Lifecycle entries say what happened to a container, taken from the status of
// its pod. They are in a stream of their own, which has the labels of the
// container's log but for the job, so that a selector by pod finds both and one
// by job only one of them. Nothing but the status is in labels, line and
// timestamp: what two replicas store of one status is the same.
//
//	event=started restart=1 container_id=4f0c…
//	event=exited restart=1 exit_code=137 reason=OOMKilled duration=42s container_id=4f0c…
//	event=waiting restart=1 reason=CrashLoopBackOff
//	event=evicted reason=Evicted message="The node was low on resource: memory."
//	event=failed reason=DeadlineExceeded message="…"
//
// started and exited are stamped with the status' startedAt and finishedAt,
// waiting with the end of the run before it, or with the start of the pod if
// nothing has run; evicted and failed, which have no container, with the time
// of the condition DisruptionTarget, else the end of the last container. Times
// of the status are whole seconds: entries of one second are a few nanoseconds
// apart, in the order in which things happened.
const (
	// LifecycleJob is the job label of streams of lifecycle entries.
	LifecycleJob = "kubernetes-lifecycle"

	// maxTermination is where a longer termination message is cut: it may be
	// the last 2 KiB of the log.
	maxTermination = 1024
)

// What an entry reports, in the order within one run.
const (
	lifeStarted = iota
	lifeExited
	lifeWaiting
	lifeSteps // how many there are, and the nanoseconds of one run
)

var lifeNames = []string{"started", "exited", "waiting"}

// run is what the status says about one run of a container.
type run struct {
	id      string // short
	restart int32
	started time.Time // zero if it never was
	end     *corev1.ContainerStateTerminated
}

// runsOf lists the runs that the status shows, the older one first. The counts
// are those of readStatus.
func runsOf(s *corev1.ContainerStatus) []run {
	var runs []run
	ended := func(t *corev1.ContainerStateTerminated, restart int32) {
		if t != nil && t.ContainerID != "" {
			runs = append(runs, run{shortID(t.ContainerID), max(restart, 0), sinceEpoch(t.StartedAt.Time), t})
		}
	}
	last := s.LastTerminationState.Terminated
	switch {
	case s.State.Running != nil:
		ended(last, s.RestartCount-1)
		runs = append(runs, run{shortID(s.ContainerID), s.RestartCount, s.State.Running.StartedAt.Time, nil})
	case s.State.Terminated != nil && s.State.Terminated.ContainerID != "":
		if last != nil && last.ContainerID != s.State.Terminated.ContainerID {
			ended(last, s.RestartCount-1)
		}
		ended(s.State.Terminated, s.RestartCount)
	default:
		ended(last, s.RestartCount)
	}
	return runs
}

// sinceEpoch turns the time that runtimes give to what never happened into zero.
func sinceEpoch(t time.Time) time.Time {
	if t.Unix() <= 0 {
		return time.Time{}
	}
	return t
}

// lifeMark is what is stored of a container's life, or of a pod's.
type lifeMark struct {
	// id, restart and started are of the newest run stored.
	id      string
	restart int32
	started int64 // Unix seconds
	// ended says that its end is stored.
	ended bool
	// waits are the reasons for waiting stored since that run, or the reason
	// for which the pod failed.
	waits string
}

// waited says whether the mark knows the reason.
func (m *lifeMark) waited(reason string) bool {
	return slices.Contains(strings.Split(m.waits, ","), reason)
}

func (m *lifeMark) wait(reason string) {
	if m.waits != "" {
		reason = m.waits + "," + reason
	}
	m.waits = reason
}

// before says whether the run began after the one of the mark.
func (m *lifeMark) before(r *run) bool {
	return r.started.Unix() > m.started && !r.started.IsZero() || r.restart > m.restart
}

// advance returns the entries for what the status shows beyond the mark, and
// moves the mark.
func (m *lifeMark) advance(pod *corev1.Pod, s *corev1.ContainerStatus) []model.Entry {
	var entries []model.Entry
	runs := runsOf(s)
	for i := range runs {
		r := &runs[i]
		switch {
		case r.id == m.id:
		case m.id == "" || m.before(r):
			*m = lifeMark{id: r.id, restart: r.restart}
			if !r.started.IsZero() {
				m.started = r.started.Unix()
				entries = append(entries, r.entry(lifeStarted, r.started, "", nil))
			}
		default:
			continue // older than what is stored
		}
		if r.end != nil && !m.ended {
			m.ended = true
			entries = append(entries, r.entry(lifeExited, r.end.FinishedAt.Time, r.end.Reason, r.end))
		}
	}
	reason, message := waitingFor(s)
	if reason == "" || m.waited(reason) || len(m.waits) > 256 {
		return entries
	}
	r := run{restart: s.RestartCount}
	var at time.Time
	switch {
	case len(runs) > 0:
		r = runs[len(runs)-1]
		at = r.end.FinishedAt.Time
	case pod.Status.StartTime != nil:
		at = pod.Status.StartTime.Time
	default:
		return entries // the kubelet has not taken the pod yet
	}
	m.wait(reason)
	e := r.entry(lifeWaiting, at, reason, nil)
	if message != "" {
		b := labels.NewBuilder(e.Metadata)
		b.Set("message", cutText(message, maxTermination))
		e.Metadata = b.Labels()
	}
	return append(entries, e)
}

// waitingFor is why the container does not run, if that is a trouble.
func waitingFor(s *corev1.ContainerStatus) (reason, message string) {
	w := s.State.Waiting
	if w == nil {
		return "", ""
	}
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return "", ""
	case "ErrImagePull": // takes turns with the other one
		return "ImagePullBackOff", w.Message
	case "CrashLoopBackOff": // its message is a time that grows
		return w.Reason, ""
	}
	return w.Reason, w.Message
}

// entry reports a step of a run.
func (r *run) entry(step int, at time.Time, reason string, end *corev1.ContainerStateTerminated) model.Entry {
	restart := strconv.Itoa(int(r.restart))
	attrs := []slog.Attr{slog.String("event", lifeNames[step]), slog.String("restart", restart)}
	meta := []string{"event", lifeNames[step], "restart", restart}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	level := "info"
	if step == lifeWaiting {
		level = "warn"
	}
	if end != nil {
		code := strconv.Itoa(int(end.ExitCode))
		add("exit_code", code)
		meta = append(meta, "exit_code", code)
		if end.Signal != 0 {
			add("signal", strconv.Itoa(int(end.Signal)))
		}
		if end.ExitCode != 0 {
			level = "error"
		}
	}
	add("reason", reason)
	if reason != "" {
		meta = append(meta, "reason", reason)
	}
	if end != nil && !r.started.IsZero() {
		add("duration", end.FinishedAt.Sub(r.started).String())
	}
	if step != lifeWaiting {
		add("container_id", r.id)
	}
	if end != nil {
		add("message", cutText(end.Message, maxTermination))
	}
	return model.Entry{
		Timestamp: at.UnixNano() + int64(r.restart)*lifeSteps + int64(step),
		Line:      logfmtLine(attrs),
		Metadata:  labels.FromStrings(append(meta, "detected_level", level)...),
	}
}

// podFailure returns the entry of a pod that failed as a whole, if it did.
// final says that the pod is gone: nothing more will be known.
func (m *lifeMark) podFailure(pod *corev1.Pod, final bool) []model.Entry {
	reason := pod.Status.Reason
	if pod.Status.Phase != corev1.PodFailed || reason == "" || m.waited(reason) {
		return nil
	}
	at, ok := failedAt(pod, final)
	if !ok {
		return nil
	}
	m.wait(reason)
	event := "failed"
	if reason == "Evicted" {
		event = "evicted"
	}
	attrs := []slog.Attr{slog.String("event", event), slog.String("reason", reason)}
	if text := cutText(pod.Status.Message, maxTermination); text != "" {
		attrs = append(attrs, slog.String("message", text))
	}
	return []model.Entry{{
		Timestamp: at.UnixNano(), Line: logfmtLine(attrs),
		Metadata: labels.FromStrings("event", event, "reason", reason, "detected_level", "error"),
	}}
}

// failedAt is when a pod failed; false as long as that may become known better.
func failedAt(pod *corev1.Pod, final bool) (at time.Time, ok bool) {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time, true
		}
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			s := &list[i]
			if s.State.Running != nil && !final {
				return at, false
			}
			if t := s.State.Terminated; t != nil && t.FinishedAt.After(at) {
				at = t.FinishedAt.Time
			}
		}
	}
	if at.IsZero() && pod.Status.StartTime != nil {
		at = pod.Status.StartTime.Time
	}
	return at, !at.IsZero()
}

// logfmtLine writes pairs as slog's text handler does.
func logfmtLine(attrs []slog.Attr) string {
	var b strings.Builder
	h := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey || a.Key == slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}})
	r := slog.NewRecord(time.Time{}, 0, "", 0)
	r.AddAttrs(attrs...)
	_ = h.Handle(context.Background(), r) // a strings.Builder does not fail
	return strings.TrimSuffix(b.String(), "\n")
}

// cutText shortens a text at the boundary of a character.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes in all)", strings.ToValidUTF8(s[:limit], ""), len(s))
}
