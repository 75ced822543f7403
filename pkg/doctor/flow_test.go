package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

func init() { moreCases = append(moreCases, flowCases, metricCases) }

// flowCases: namespace shop with a pod of an hour, and what was stored.
func flowCases() []testCase {
	with := func(change func(*snapshot.FlowResult)) func(testing.TB) *snapshot.Snapshot {
		return func(testing.TB) *snapshot.Snapshot {
			s := snapshot.New(taken, "logstack", "logstack")
			s.SetVersion(&apiversion.Info{GitVersion: "v1.36.3"})
			started := metav1.NewTime(taken.Add(-time.Hour))
			s.Add(snapshot.Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0"}, Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started}})
			f := &snapshot.FlowResult{Now: 50, Recent: map[string]float64{"shop": 150}, Long: map[string]float64{"shop": 14400}, Gaps: map[string]float64{},
				Oldest: taken.Add(-10 * 24 * time.Hour), DiskBytes: 100 << 20}
			change(f)
			s.SetFlow(f)
			s.Finish()
			return s
		}
	}
	fine := with(func(*snapshot.FlowResult) {})
	quiet := with(func(f *snapshot.FlowResult) { f.Recent, f.Long = nil, map[string]float64{"shop": 20} })
	unreachable := with(func(f *snapshot.FlowResult) { f.Err = errors.New("502 Bad Gateway") })
	logging := func(change func(*snapshot.FlowResult), lines ...string) func(testing.TB) *snapshot.Snapshot {
		return func(tb testing.TB) *snapshot.Snapshot {
			s := with(change)(tb)
			s.SetLogs([]*snapshot.LogExcerpt{{Purpose: snapshot.SilentLog, Pod: s.Pods()[0], Container: "web", Lines: lines}})
			return s
		}
	}
	// volume is a Loki with a volume of 10 GiB of which so many percent are used.
	volume := func(percent int64) func(testing.TB) *snapshot.Snapshot {
		return func(testing.TB) *snapshot.Snapshot {
			s := snapshot.New(taken, "logstack", "logstack")
			s.SetVersion(&apiversion.Info{GitVersion: "v1.36.3"})
			s.SetVolumes([]snapshot.VolumeUse{{Namespace: "monitoring", Claim: "data-loki-0", Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "loki-0"}}, Used: 10 << 30 / 100 * percent, Capacity: 10 << 30}})
			s.Finish()
			return s
		}
	}
	// stored is our stack with a volume of 10 GiB that holds so many bytes of so many days.
	stored := func(bytes int64, days int, args ...string) func(testing.TB) *snapshot.Snapshot {
		return func(tb testing.TB) *snapshot.Snapshot {
			p := healthyParts()
			p.set.Spec.Template.Spec.Containers[0].Args = args
			s := p.snapshot(tb)
			s.Add(snapshot.Claims, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "data-logstack-0"},
				Status: corev1.PersistentVolumeClaimStatus{Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}}})
			s.SetFlow(&snapshot.FlowResult{Oldest: taken.Add(-time.Duration(days) * 24 * time.Hour), DiskBytes: bytes})
			return s
		}
	}
	out := []testCase{
		{name: "stopped", code: "LS1002", expect: []expectation{{"LS1002", Error, "0 lines in 5 minutes, usual are 50"}}, build: with(func(f *snapshot.FlowResult) { f.Now = 0 })},
		{name: "hardly any", code: "LS1002", expect: []expectation{{"LS1002", Warning, "4 lines in 5 minutes"}}, build: with(func(f *snapshot.FlowResult) { f.Now = 4 })},
		{name: "just installed", code: "LS1002", build: with(func(f *snapshot.FlowResult) { f.Now, f.Oldest = 0, taken.Add(-time.Minute) })},
		{name: "silent", code: "LS1003", expect: []expectation{{"LS1003", Warning, "no line in 15 minutes, 14400 in a day; silence is not its habit"}}, build: with(func(f *snapshot.FlowResult) { f.Recent = nil })},
		{name: "quiet by habit", code: "LS1003", build: quiet},
		{name: "last line", code: "LS1003", expect: []expectation{{"LS1003", Warning, "no line for 3h0m0s (20 in a day, the last one at 2026-03-05T09:00:00Z); pod web-0 writes lines: GET / 200"}}, build: logging(func(f *snapshot.FlowResult) {
			f.Recent, f.Long, f.Last = nil, map[string]float64{"shop": 20}, map[string]time.Time{"shop": taken.Add(-3 * time.Hour)}
		}, "GET / 200")},
		{name: "never a line", code: "LS1003", expect: []expectation{{"LS1003", Warning, "0 in a day; pod web-0 writes lines"}}, build: logging(func(f *snapshot.FlowResult) { f.Recent, f.Long = nil, nil }, "hello")},
		{name: "writes nothing", code: "LS1003", build: logging(func(f *snapshot.FlowResult) { f.Recent, f.Long = nil, nil })},
		{name: "ahead", code: "LS1103", expect: []expectation{{"LS1103", Warning, "2h0m0s ahead of now (of 3 lines of namespace shop)"}}, build: with(func(f *snapshot.FlowResult) {
			f.Newest, f.Ahead = taken.Add(2*time.Hour), map[string]float64{"shop": 3}
		})},
		{name: "a little ahead", code: "LS1103", build: with(func(f *snapshot.FlowResult) { f.Newest = taken.Add(time.Minute) })},
		{name: "too early", code: "LS0903", build: with(func(f *snapshot.FlowResult) { f.Oldest = taken.Add(-time.Hour) })},
		{name: "does not fit", code: "LS0903", expect: []expectation{{"LS0903", Warning, "1.0 GiB a day for 30d need 36 GiB, and the limit is 8.0 GiB: lines are removed after about 8 days"}}, build: stored(5<<30, 5, "--retention=30d", "--max-disk=8192MiB")},
		{name: "does not fit: what to do", code: "LS0903", expect: []expectation{{"LS0903", Warning, "install --storage-size 45Gi, or --retention 6d"}}, build: stored(5<<30, 5, "--retention=30d", "--max-disk=8192MiB")},
		{name: "fits", code: "LS0903", build: stored(5<<30, 5, "--retention=6d", "--max-disk=8192MiB")},
		{name: "no limit", code: "LS0903", build: stored(5<<30, 5, "--retention=0", "--max-disk=0")},
		{name: "Loki is full", code: "LS0902", expect: []expectation{{"LS0902", Error, "data-loki-0 97 % full: 9.7 GiB of 10 GiB (pod loki-0)"}}, build: volume(97)},
		{name: "Loki fills up", code: "LS0902", expect: []expectation{{"LS0902", Warning, "85 % full"}}, build: volume(85)},
		{name: "Loki has room", code: "LS0902", build: volume(80)},
		{name: "no right to ask the kubelet", code: "LS0902", expect: []expectation{{"LS0902", Skip, "need get nodes/proxy"}}, build: func(tb testing.TB) *snapshot.Snapshot {
			s := volume(1)(tb)
			s.SetMissing(snapshot.Volumes, &snapshot.Missing{Right: &snapshot.Right{Verb: "get", Resource: "nodes", Subresource: "proxy"}})
			return s
		}},
		{name: "nearly full", code: "LS0902", expect: []expectation{{"LS0902", Warning, "nearly full: 8.5 GiB of 10 GiB for 5 days, 1.7 GiB a day; room for 0 days more"}}, build: stored(17<<29, 5, "--retention=30d", "--max-disk=0")},
		{name: "as good as full", code: "LS0902", expect: []expectation{{"LS0902", Error, "as good as full"}}, build: stored(39<<28, 5, "--retention=30d", "--max-disk=0")},
		{name: "at its limit", code: "LS0902", build: stored(17<<29, 5, "--retention=30d", "--max-disk=8GiB")},
		{name: "gap", code: "LS1007", expect: []expectation{{"LS1007", Warning, "2 gaps in a day"}}, build: with(func(f *snapshot.FlowResult) { f.Gaps["shop"] = 2 })},
		{name: "gaps not counted", code: "LS1007", expect: []expectation{{"LS1007", Skip, "deadline"}}, build: with(func(f *snapshot.FlowResult) { f.GapsErr = context.DeadlineExceeded })},
		{name: "full", code: "LS0902", expect: []expectation{{"LS0902", Error, "nothing is stored: 100 MiB"}}, build: with(func(f *snapshot.FlowResult) { f.DiskFull = true })},
	}
	for _, code := range []string{"LS1002", "LS1003", "LS1007", "LS0902", "LS0903", "LS1103"} {
		out = append(out, testCase{name: "fine", code: code, build: fine},
			testCase{name: "no answer", code: code, expect: []expectation{{code, Skip, "502 Bad Gateway"}}, build: unreachable})
	}
	return out
}

// metricCases: what a Service's /metrics says.
func metricCases() []testCase {
	says := func(text string) func(testing.TB) *snapshot.Snapshot {
		return func(tb testing.TB) *snapshot.Snapshot {
			samples, err := snapshot.ParseMetrics(strings.NewReader("process_start_time_seconds 1.7726e+09\n" + text))
			if err != nil {
				tb.Fatal(err)
			}
			s := snapshot.New(taken, "logstack", "logstack")
			s.SetVersion(&apiversion.Info{GitVersion: "v1.36.3"})
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "alloy"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "alloy"}}}
			s.SetMetrics([]*snapshot.Metrics{{Service: svc, Samples: samples}})
			s.Finish()
			return s
		}
	}
	const clean = `# HELP loki_discarded_samples_total The total number of samples that were discarded.
# TYPE loki_discarded_samples_total counter
loki_discarded_samples_total{reason="rate_limited",tenant="fake"} 0
loki_write_sent_entries_total{host="loki"} 5000
loki_write_dropped_entries_total{host="loki",reason="rate_limited"} 0
loki_source_file_read_lines_total{path="/a"} 5000
loki_source_file_read_lines_total{path="/b"} 100
alloy_config_last_load_successful 1
another_metric{le="+Inf"} 3
`
	out := []testCase{
		{name: "refused", code: "LS1004", expect: []expectation{{"LS1004", Warning, "7 lines refused since 2026-03-04T04:53:20Z: line_too_long"}, {"LS1004", Warning, "something_new"}},
			build: says("loki_discarded_samples_total{reason=\"line_too_long\",tenant=\"a\"} 3\nloki_discarded_samples_total{reason=\"line_too_long\",tenant=\"b\"} 4\nloki_discarded_samples_total{reason=\"something_new\"} 1\n")},
		{name: "dropped", code: "LS1005", expect: []expectation{{"LS1005", Error, "12 lines dropped"}}, build: says("loki_write_dropped_entries_total{host=\"x\",reason=\"ingester_error\"} 12\n")},
		{name: "promtail", code: "LS1005", expect: []expectation{{"LS1005", Error, "3 lines dropped"}}, build: says("promtail_dropped_entries_total{host=\"x\"} 3\n")},
		{name: "lost", code: "LS1006", expect: []expectation{{"LS1006", Warning, "5000 lines were read from files"}}, build: says("loki_source_file_read_lines_total{path=\"/a\"} 5000\nloki_write_sent_entries_total 12\n")},
	}
	out = append(out, testCase{name: "of the future", code: "LS1103", expect: []expectation{{"LS1103", Warning, "4 lines of the future refused"}}, build: func(tb testing.TB) *snapshot.Snapshot {
		s := says("loki_discarded_samples_total{reason=\"too_far_in_future\"} 4\n")(tb)
		s.SetFlow(&snapshot.FlowResult{})
		return s
	}})
	out = append(out, testCase{name: "old configuration", code: "LS0714", expect: []expectation{{"LS0714", Error, "still runs an old one"}}, build: says("alloy_config_last_load_successful 0\n")})
	for _, code := range []string{"LS0714", "LS1004", "LS1005", "LS1006"} {
		out = append(out, testCase{name: "clean", code: code, build: says(clean)},
			testCase{name: "no answer", code: code, expect: []expectation{{code, Skip, "connection refused"}}, build: func(testing.TB) *snapshot.Snapshot {
				s := snapshot.New(taken, "logstack", "logstack")
				s.SetMetrics([]*snapshot.Metrics{{Service: &corev1.Service{}, Err: errors.New("connection refused")}})
				s.Finish()
				return s
			}})
	}
	return out
}
