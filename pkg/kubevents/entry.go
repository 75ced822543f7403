package kubevents

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// Job is the job label of every stream of events.
	Job = "kubernetes-events"
	// MetaGap marks the entry of a gap, as in streams of pod logs; MetaGapFrom
	// and MetaGapTo bound it in RFC 3339.
	MetaGap     = "__logstack_gap__"
	MetaGapFrom = "__logstack_gap_from__"
	MetaGapTo   = "__logstack_gap_to__"
	// GapUnwatched is the reason in MetaGap: nobody watched for longer than the
	// API server keeps events.
	GapUnwatched = "events_unwatched"

	// maxMessage is where a longer message is cut. Recorders cut at 1 KiB; the
	// API takes more.
	maxMessage = 16 << 10
)

// timestampOf is when the last occurrence of the event was.
func timestampOf(e *corev1.Event) int64 {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.UnixNano()
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.UnixNano()
	case !e.EventTime.IsZero():
		return e.EventTime.UnixNano()
	}
	return e.CreationTimestamp.UnixNano()
}

// countOf is how often the event has occurred, at least once.
func countOf(e *corev1.Event) int32 {
	if e.Series != nil {
		return max(e.Series.Count, 1)
	}
	return max(e.Count, 1)
}

// render adds the entries of the occurrences to a batch.
func (c *Collector) render(out *model.Batch, occurrences []occurrence) {
	at := make(map[uint64]int)
	for i := range occurrences {
		o := &occurrences[i]
		ls, ok := c.labelsOf(o.event)
		if !ok {
			continue
		}
		hash := ls.Hash()
		n, has := at[hash]
		if !has || !labels.Equal(out.Streams[n].Labels, ls) {
			n = len(out.Streams)
			at[hash] = n
			out.Streams = append(out.Streams, model.StreamEntries{Labels: ls})
		}
		s := &out.Streams[n]
		s.Entries = append(s.Entries, model.Entry{Timestamp: o.ts, Line: lineOf(o), Metadata: c.metadataOf(o)})
	}
}

// labelsOf answers the labels of the event's stream; false means that its
// object opted out.
func (c *Collector) labelsOf(e *corev1.Event) (labels.Labels, bool) {
	ref := &e.InvolvedObject
	if c.opts.Excluded(ref.Namespace) {
		return labels.EmptyLabels(), false
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	b.Set("service_name", Job)
	if ref.Kind == "Pod" {
		container := containerOf(ref.FieldPath)
		ls, state := c.opts.Pods(ref.Namespace, ref.Name, string(ref.UID), container)
		switch state {
		case PodExcluded:
			return labels.EmptyLabels(), false
		case PodKnown:
			b.Reset(ls)
		case PodUnknown:
		}
		b.Set("pod", ref.Name)
		b.Set("container", container) // empty deletes
	}
	// Not the pod's own node: whether that was known already when the event came
	// would differ from replica to replica.
	node := e.Source.Host
	if ref.Kind == "Node" {
		node = ref.Name
	}
	b.Set("node", node)
	b.Set("namespace", ref.Namespace)
	b.Set("job", Job)
	if e.Type == corev1.EventTypeNormal || e.Type == corev1.EventTypeWarning {
		b.Set("type", e.Type) // anything else would be a label of any number of values
	}
	return b.Labels(), true
}

// containerOf takes the name out of a field path such as
// "spec.initContainers{setup}".
func containerOf(path string) string {
	if !strings.HasPrefix(path, "spec.") {
		return ""
	}
	_, rest, ok := strings.Cut(path, "ontainers{")
	name, _, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return ""
	}
	return name
}

// lineOf is the entry's line. It depends on the event alone.
func lineOf(o *occurrence) string {
	e := o.event
	ref := &e.InvolvedObject
	attrs := make([]slog.Attr, 0, 13)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("name", ref.Name)
	add("kind", ref.Kind)
	add("action", e.Action)
	add("objectAPIversion", ref.APIVersion)
	add("objectRV", ref.ResourceVersion)
	add("reportinginstance", e.ReportingInstance)
	add("reportingcontroller", e.ReportingController)
	add("sourcecomponent", e.Source.Component)
	add("sourcehost", e.Source.Host)
	add("reason", e.Reason)
	add("type", e.Type)
	add("count", strconv.Itoa(int(o.count)))
	attrs = append(attrs, slog.String("msg", cut(e.Message, maxMessage)))
	return logfmt(attrs)
}

// logfmt writes pairs as slog's text handler does.
func logfmt(attrs []slog.Attr) string {
	var b strings.Builder
	h := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.LevelKey || a.Key == slog.MessageKey && a.Value.Kind() == slog.KindString && a.Value.String() == "" {
			return slog.Attr{}
		}
		return a
	}})
	r := slog.NewRecord(time.Time{}, 0, "", 0)
	r.AddAttrs(attrs...)
	_ = h.Handle(context.Background(), r) // a strings.Builder does not fail
	return strings.TrimSuffix(b.String(), "\n")
}

// cut shortens a text at the boundary of a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return fmt.Sprintf("%s… (%d bytes in all)", s[:limit], len(s))
}

func (c *Collector) metadataOf(o *occurrence) labels.Labels {
	e := o.event
	b := labels.NewScratchBuilder(6)
	add := func(name, value string) {
		if value != "" {
			b.Add(name, cut(value, 1024))
		}
	}
	component := e.Source.Component
	if component == "" {
		component = e.ReportingController
	}
	add("component", component)
	add("count", strconv.Itoa(int(o.count)))
	if !c.opts.NoLevels {
		level := "info"
		if e.Type == corev1.EventTypeWarning {
			level = "warn"
		}
		add("detected_level", level)
	}
	add("kind", e.InvolvedObject.Kind)
	add("name", e.InvolvedObject.Name)
	add("reason", e.Reason)
	b.Sort()
	return b.Labels()
}

// gapEntry stands for events that may be missing.
func gapEntry(namespace string, from, to int64) model.StreamEntries {
	ls := labels.NewBuilder(labels.EmptyLabels())
	ls.Set("job", Job)
	ls.Set("service_name", Job)
	ls.Set("namespace", namespace)
	stamp := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
	return model.StreamEntries{Labels: ls.Labels(), Entries: []model.Entry{{
		Timestamp: from + 1,
		Line:      fmt.Sprintf("gap: %s, %s", time.Duration(to-from).Round(time.Second), GapUnwatched),
		Metadata:  labels.FromStrings(MetaGap, GapUnwatched, MetaGapFrom, stamp(from), MetaGapTo, stamp(to)),
	}}}
}
