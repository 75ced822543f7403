package kubevents

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestEntries renders events of all kinds.
func TestEntries(t *testing.T) {
	second := func(n int) metav1.Time { return metav1.NewTime(time.Unix(1_800_000_000+int64(n), 0)) }
	micro := metav1.NewMicroTime(time.Unix(1_800_000_100, 123456000))
	web := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-0", UID: "u1", ResourceVersion: "771"}
	inContainer := web
	inContainer.FieldPath = "spec.initContainers{setup}"
	kubelet := corev1.EventSource{Component: "kubelet", Host: "node-1"}
	meta := metav1.ObjectMeta{CreationTimestamp: second(9)}
	events := []corev1.Event{
		{ObjectMeta: meta, InvolvedObject: inContainer, Reason: "BackOff", Type: "Warning", Message: `Back-off "x"` + "\nagain", Source: kubelet, ReportingController: "kubelet", ReportingInstance: "node-1", Count: 4, FirstTimestamp: second(1), LastTimestamp: second(4)},
		{ObjectMeta: meta, InvolvedObject: web, Reason: "Scheduled", Type: "Normal", Message: "Successfully assigned", Action: "Binding", EventTime: micro, ReportingController: "default-scheduler", ReportingInstance: "default-scheduler-x"},
		{ObjectMeta: meta, InvolvedObject: web, Reason: "FailedScheduling", Type: "Warning", Message: "0/1 nodes", EventTime: micro, Series: &corev1.EventSeries{Count: 7, LastObservedTime: metav1.NewMicroTime(micro.Add(time.Minute))}},
		{ObjectMeta: meta, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "gone", FieldPath: "spec.containers{app}"}, Reason: "Killing", Type: "Normal", Source: kubelet},
		{ObjectMeta: meta, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "quiet"}, Reason: "Killing", Type: "Normal"},
		{ObjectMeta: meta, InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: "node-2", UID: "node-2"}, Reason: "NodeNotReady", Type: "Normal", Source: corev1.EventSource{Component: "node-controller"}},
		{ObjectMeta: meta, InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"}, Reason: "ScalingReplicaSet", Type: "Odd", Message: "Scaled up"},
		{ObjectMeta: meta, InvolvedObject: corev1.ObjectReference{Kind: "Deployment", Namespace: "silent", Name: "x"}, Reason: "Excluded", Type: "Normal"},
		{ObjectMeta: meta, InvolvedObject: web, Reason: "Long", Type: "Normal", Message: strings.Repeat("é", maxMessage)},
	}
	c := &Collector{opts: Options{
		Excluded: func(ns string) bool { return ns == "silent" },
		Pods: func(_, name, _, container string) (labels.Labels, PodState) {
			switch name {
			case "web-0":
				b := labels.NewBuilder(labels.FromStrings("app", "web", "node", "node-9", "pod", name, "namespace", "shop", "service_name", "web", "job", "kubernetes-pods"))
				if container != "" {
					b.Set("instance", "shop/web-0:"+container)
				}
				return b.Labels(), PodKnown
			case "quiet":
				return labels.EmptyLabels(), PodExcluded
			}
			return labels.EmptyLabels(), PodUnknown
		},
	}}
	var occurrences []occurrence
	for i := range events {
		occurrences = append(occurrences, occurrence{&events[i], timestampOf(&events[i]), countOf(&events[i])})
	}
	var b model.Batch
	c.render(&b, occurrences)
	b.Streams = append(b.Streams, gapEntry("", second(0).UnixNano(), second(1800).UnixNano()))
	var got strings.Builder
	for _, s := range b.Streams {
		fmt.Fprintln(&got, s.Labels)
		for _, e := range s.Entries {
			line := e.Line
			if len(line) > 500 {
				line = line[:200] + " ... " + line[len(line)-50:]
			}
			fmt.Fprintf(&got, "  %s %s\n    %s\n", time.Unix(0, e.Timestamp).UTC().Format(time.RFC3339Nano), e.Metadata, line)
		}
	}
	const file = "testdata/entries.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(golden), got.String()); d != "" {
		t.Error(d)
	}
}

func TestContainerOf(t *testing.T) {
	for path, want := range map[string]string{
		"spec.containers{app}": "app", "spec.initContainers{setup}": "setup", "spec.ephemeralContainers{debug}": "debug",
		"": "", "spec.containers": "", "spec.containers{app": "", "spec.containers[0]": "", "status.containers{x}": "",
	} {
		if got := containerOf(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func FuzzMarks(f *testing.F) {
	f.Add(place{version: "12", contact: 5, floor: "3"}.encode())
	f.Add(seen{version: "12", namespace: "x", count: 3, ts: -1}.encode())
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePlace(b); err == nil {
			if q, err := decodePlace(p.encode()); err != nil || q != p {
				t.Errorf("%+v became %+v: %v", p, q, err)
			}
		}
		if s, err := decodeSeen(b); err == nil {
			if q, err := decodeSeen(s.encode()); err != nil || q != s {
				t.Errorf("%+v became %+v: %v", s, q, err)
			}
		}
	})
}
