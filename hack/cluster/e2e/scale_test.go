package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
)

// The size of the cluster and of what happens in it.
const (
	scaleNodes         = 50
	scalePodsPerNode   = 20
	scaleContainers    = 10 // of a pod
	scaleActive        = 500
	scaleActiveRate    = 2 // lines a second of an active container
	scaleIdleEvery     = 5 * time.Minute
	scaleChurnFor      = 10 * time.Second
	scaleChurnRate     = 500 // pods a second, created and deleted
	scaleInotify       = 16384
	inotifyLimit       = "/proc/sys/fs/inotify/max_user_instances"
	scaleSteady        = 2 * time.Minute
	scaleAfterRestart  = time.Minute
	scalePatience      = 30 * time.Minute
	scaleFirstLineText = "first line"
)

// BenchmarkScale shows what one collector does with 10,000 containers on 50
// nodes: cold start, a steady state, a restart of the API server, the creation
// and deletion of hundreds of pods a second, and what is left when all are gone.
// It takes about 15 minutes and prints a table; the machine also runs the API
// server, etcd and all kubelets. Root is needed to allow enough inotify
// instances for the follows that all come from one user here.
func BenchmarkScale(b *testing.B) {
	if restore, err := allowInotify(); err != nil {
		b.Skipf("the kubelets of this benchmark need %d inotify instances: %v", scaleInotify, err)
	} else {
		defer restore()
	}
	for b.Loop() {
		newScaleRun(b).run()
	}
}

func allowInotify() (restore func(), err error) {
	old, err := os.ReadFile(inotifyLimit)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(inotifyLimit, []byte(strconv.Itoa(scaleInotify)), 0o644); err != nil {
		return nil, err
	}
	return func() { _ = os.WriteFile(inotifyLimit, old, 0o644) }, nil
}

// scaleRun is one run of the benchmark.
type scaleRun struct {
	b     *testing.B
	fleet *rig.Fleet
	c     *collector
	rows  []scaleRow

	mu      sync.Mutex
	delays  map[string][]time.Duration // of lines that arrived in a live tail, by kind
	samples []scaleSample
}

// scaleSample is what the collector says of itself at one moment.
type scaleSample struct {
	at                   time.Time
	opens, probes        float64
	resident, cpu, lines float64
	goroutines           float64
	targets              map[string]float64
}

// scaleRow is a phase in the table.
type scaleRow struct {
	phase                    string
	took                     time.Duration
	opens, opensPeak, probes float64 // a second
	resident                 float64 // the most
	cpu                      float64 // processors
	lines                    float64 // a second
	targets                  map[string]float64
	note                     string
}

func newScaleRun(b *testing.B) *scaleRun {
	return &scaleRun{b: b, delays: make(map[string][]time.Duration)}
}

func (s *scaleRun) run() {
	b := s.b
	ctx, cancel := context.WithTimeout(b.Context(), scalePatience)
	defer cancel()
	fleet, err := shared.AddFleet(ctx, rig.FleetSpec{
		Name: "scale", Nodes: scaleNodes, PodsPerNode: scalePodsPerNode, ContainersPerPod: scaleContainers,
	})
	if err != nil {
		b.Fatal(err)
	}
	s.fleet = fleet
	for _, p := range fleet.Pods {
		for _, c := range p.Containers() {
			s.must(c.Write(rig.Stdout, scaleFirstLineText))
		}
	}
	s.c = newCollector(b, "", "--memory-limit=300MiB", "--pprof")
	sampling, stopSampling := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { s.sample(sampling) })
	writing, stopWriting := context.WithCancel(ctx)
	background.Go(func() { s.write(writing) })

	s.phase("cold start", func() string {
		s.awaitFirstLines(ctx, fleet.Targets())
		return ""
	})
	background.Go(func() { s.tail(sampling) })
	s.phase("steady", func() string {
		sleepContext(ctx, scaleSteady)
		return s.delayNote()
	})
	s.phase("API server restart", func() string {
		s.must(shared.RestartAPIServer(ctx, true))
		sleepContext(ctx, scaleAfterRestart)
		return s.delayNote()
	})
	s.phase("churn", func() string { return s.churn(ctx) })
	s.phase("after churn", func() string {
		sleepContext(ctx, scaleAfterRestart)
		return s.delayNote()
	})
	stopWriting()
	s.phase("all deleted", func() string {
		s.must(fleet.Remove(ctx))
		return s.awaitNothing(ctx)
	})
	stopSampling()
	background.Wait()
	s.print()
}

func (s *scaleRun) must(err error) {
	s.b.Helper()
	if err != nil {
		s.b.Fatal(err)
	}
}

func sleepContext(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// write lets some containers log all the time and the others seldom.
func (s *scaleRun) write(ctx context.Context) {
	var all []*rig.Container
	for _, p := range s.fleet.Pods {
		all = append(all, p.Containers()...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	active, idle := all[:scaleActive], all[scaleActive:]
	const beat = 50 * time.Millisecond
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for n, due := 0, 0.0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due += float64(scaleActive*scaleActiveRate) * beat.Seconds(); due >= 1; due-- {
			s.must(active[n%len(active)].Write(rig.Stdout, "active "+strconv.Itoa(n)+" lorem ipsum dolor sit amet consectetur adipiscing elit"))
			n++
		}
		if rand.Float64() < beat.Seconds()*float64(len(idle))/scaleIdleEvery.Seconds() {
			s.must(idle[rand.N(len(idle))].Write(rig.Stdout, "idle "+strconv.Itoa(n)))
		}
	}
}

// sample asks the collector for its metrics once a second.
func (s *scaleRun) sample(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if m, err := s.metrics(ctx); err == nil {
			s.mu.Lock()
			s.samples = append(s.samples, m)
			s.mu.Unlock()
		}
	}
}

// metrics reads what the table needs from /metrics.
func (s *scaleRun) metrics(ctx context.Context) (scaleSample, error) {
	m := scaleSample{at: time.Now(), targets: make(map[string]float64)}
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return m, err
	}
	defer body.Body.Close()
	for sc := bufio.NewScanner(body.Body); sc.Scan(); {
		name, value, ok := strings.Cut(sc.Text(), " ")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		family, label, _ := strings.Cut(name, "{")
		switch family {
		case "logstack_podlogs_requests_total":
			if strings.Contains(label, `"catchup"`) || strings.Contains(label, `"follow"`) {
				m.opens += v
			} else {
				m.probes += v
			}
		case "process_resident_memory_bytes":
			m.resident = v
		case "process_cpu_seconds_total":
			m.cpu = v
		case "logstack_podlogs_lines_total":
			m.lines = v
		case "go_goroutines":
			m.goroutines = v
		case "logstack_podlogs_targets":
			_, state, _ := strings.Cut(label, `state="`)
			m.targets[strings.TrimSuffix(state, `"}`)] = v
		}
	}
	return m, nil
}

func (s *scaleRun) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.c.address+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

// tail measures how old lines are when a live tail shows them.
func (s *scaleRun) tail(ctx context.Context) {
	resp, err := s.get(ctx, "/logstack/v1/tail?query="+url.QueryEscape(`{namespace="scale"}`))
	if err != nil {
		s.b.Log("tail: ", err)
		return
	}
	defer resp.Body.Close()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		var e struct{ Timestamp, Line string }
		if json.Unmarshal(sc.Bytes(), &e) != nil || e.Timestamp == "" {
			continue
		}
		ns, err := strconv.ParseInt(e.Timestamp, 10, 64)
		kind, _, _ := strings.Cut(e.Line, " ")
		if err != nil || kind != "active" && kind != "idle" {
			continue
		}
		s.mu.Lock()
		s.delays[kind] = append(s.delays[kind], time.Since(time.Unix(0, ns)))
		s.mu.Unlock()
	}
}

// delayNote says how old lines were since it was asked last.
func (s *scaleRun) delayNote() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, kind := range []string{"active", "idle"} {
		d := s.delays[kind]
		if len(d) == 0 {
			continue
		}
		slices.Sort(d)
		at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(10 * time.Millisecond) }
		parts = append(parts, fmt.Sprintf("%s lines p50 %s p99 %s max %s", kind, at(0.5), at(0.99), at(1)))
		s.delays[kind] = nil
	}
	return strings.Join(parts, ", ")
}

// awaitFirstLines waits until every container's first line can be queried.
func (s *scaleRun) awaitFirstLines(ctx context.Context, want int) {
	query := "/loki/api/v1/query?query=" + url.QueryEscape(`sum(count_over_time({namespace="scale"} |= "`+scaleFirstLineText+`" [2h]))`)
	for {
		sleepContext(ctx, time.Second)
		s.must(ctx.Err())
		resp, err := s.get(ctx, query)
		if err != nil {
			continue
		}
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil || len(answer.Data.Result) == 0 {
			continue
		}
		if n, _ := answer.Data.Result[0].Value[1].(string); n == strconv.Itoa(want) {
			return
		}
	}
}

// churn creates pods that log one line and are gone again, as quickly as the
// machine allows and not faster than wanted.
func (s *scaleRun) churn(ctx context.Context) string {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, scaleChurnFor)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		made int
		errs []error
		next = make(chan int)
	)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				err := s.churnPod(s.b.Context(), i)
				mu.Lock()
				made++
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	ticker := time.NewTicker(time.Second / scaleChurnRate)
	defer ticker.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			select {
			case next <- i:
			case <-ctx.Done():
			}
		}
	}
	close(next)
	wg.Wait()
	s.must(errors.Join(errs...))
	return fmt.Sprintf("%.0f pods a second created and deleted; %s", float64(made)/time.Since(begin).Seconds(), s.delayNote())
}

func (s *scaleRun) churnPod(ctx context.Context, i int) error {
	pod, err := shared.AddPod(ctx, s.fleet.Nodes[i%scaleNodes], rig.PodSpec{
		Namespace: "churn", Name: fmt.Sprintf("churn-%06d", i), NoBook: true,
	})
	if err != nil {
		return err
	}
	err = pod.Write("app", rig.Stdout, "churn "+strconv.Itoa(i))
	return errors.Join(err, pod.ForceDelete(ctx), pod.Collect())
}

// awaitNothing waits until the collector has no target, and no kubelet a stream.
func (s *scaleRun) awaitNothing(ctx context.Context) string {
	for {
		sleepContext(ctx, time.Second)
		s.must(ctx.Err())
		m, err := s.metrics(ctx)
		if err != nil {
			continue
		}
		var follows int64
		for _, n := range s.fleet.Nodes {
			follows += n.Kubelet.OpenFollows()
		}
		left := 0.0
		for _, n := range m.targets {
			left += n
		}
		if follows == 0 && left == 0 {
			return fmt.Sprintf("%.0f goroutines, no stream", m.goroutines)
		}
	}
}

// phase runs f and notes what the collector did meanwhile.
func (s *scaleRun) phase(name string, f func() string) {
	s.mu.Lock()
	first := max(len(s.samples)-1, 0)
	s.mu.Unlock()
	begin := time.Now()
	row := scaleRow{phase: name, note: f(), took: time.Since(begin)}
	s.mu.Lock()
	defer s.mu.Unlock()
	during := s.samples[first:]
	if len(during) > 1 {
		a, z := during[0], during[len(during)-1]
		seconds := z.at.Sub(a.at).Seconds()
		row.opens, row.probes = (z.opens-a.opens)/seconds, (z.probes-a.probes)/seconds
		row.cpu, row.lines, row.targets = (z.cpu-a.cpu)/seconds, (z.lines-a.lines)/seconds, z.targets
		for i, m := range during {
			row.resident = max(row.resident, m.resident)
			if j := max(i-10, 0); j < i {
				row.opensPeak = max(row.opensPeak, (m.opens-during[j].opens)/m.at.Sub(during[j].at).Seconds())
			}
		}
	}
	s.rows = append(s.rows, row)
	fmt.Fprintf(os.Stderr, "scale: %s took %s: %s\n", name, row.took.Round(time.Second), row.note)
}

// print shows the phases as a table.
func (s *scaleRun) print() {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "phase\ttook\topens/s\tworst 10 s\tprobes/s\tlines/s\tRSS MiB\tCPU\tfollowing\tpolling\tother\t")
	var resident, opens float64
	for _, r := range s.rows {
		other := -r.targets["following"] - r.targets["polling"]
		for _, n := range r.targets {
			other += n
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%s\n", r.phase, r.took.Round(time.Second), r.opens, r.opensPeak, r.probes,
			r.lines, r.resident/(1<<20), r.cpu, r.targets["following"], r.targets["polling"], other, r.note)
		resident, opens = max(resident, r.resident), max(opens, r.opens)
	}
	w.Flush()
	fmt.Fprintf(os.Stderr, "%d containers on %d nodes, %d of them active with %d lines a second\n%s", s.fleet.Targets(), scaleNodes, scaleActive, scaleActiveRate, &out)
	s.b.ReportMetric(resident/(1<<20), "MiB-RSS")
	s.b.ReportMetric(opens, "opens/s")
	s.b.ReportMetric(s.rows[0].took.Seconds(), "s-coldstart")
	s.b.ReportMetric(0, "ns/op")
}
