package patterns

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampleLines reads the lines of a file; \n in them is a newline.
func sampleLines(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/mixed.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], `\n`, "\n")
	}
	return lines
}

// matches is the test of LogQL's |> filter: <_> is one byte or more.
func matches(pattern, line string) bool {
	parts := strings.Split(pattern, anything)
	if len(parts) == 1 {
		return pattern == line
	}
	rest, ok := strings.CutPrefix(line, parts[0])
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, parts[len(parts)-1]); !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		if rest == "" || p == "" {
			return false
		}
		i := strings.Index(rest[1:], p)
		if i < 0 {
			return false
		}
		rest = rest[1+i+len(p):]
	}
	return rest != ""
}

func TestMixed(t *testing.T) {
	lines := sampleLines(t)
	m := NewMiner(Options{})
	for i, line := range lines {
		m.Add(line, "info", i/10, 1)
	}
	var got strings.Builder
	total := 0.0
	for _, c := range m.Clusters() {
		fmt.Fprintf(&got, "%g %v %s\n", c.Total, c.Counts, c.Pattern)
		total += c.Total
	}
	if total != float64(len(lines)) {
		t.Errorf("%g lines are counted of %d", total, len(lines))
	}
	const path = "testdata/mixed.golden"
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// TestOrder feeds the lines in any order: as many are counted.
func TestOrder(t *testing.T) {
	lines := sampleLines(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		check(t, lines, Options{})
		check(t, lines, Options{MaxClusters: 8})
	}
}

// check mines lines and compares with what must hold for any.
func check(t *testing.T, lines []string, o Options) {
	t.Helper()
	m := NewMiner(o)
	wanted := 0
	for i, line := range lines {
		if line != "" {
			wanted++
		}
		m.Add(line, "", i, 2)
	}
	total := 0.0
	unmatched := map[int]string{}
	for i, line := range lines {
		if line != "" {
			unmatched[i] = line
		}
	}
	last := 0.0
	for i, c := range m.Clusters() {
		if i > 0 && c.Total > last {
			t.Errorf("%q with %g comes after one with %g", c.Pattern, c.Total, last)
		}
		last = c.Total
		total += c.Total
		if strings.Contains(c.Pattern, anything+anything) {
			t.Errorf("%q has values side by side", c.Pattern)
		}
		sum := 0.0
		for _, n := range c.Counts {
			sum += n.Weight
			if !matches(c.Pattern, lines[n.Bucket]) {
				t.Errorf("%q does not match %q", c.Pattern, lines[n.Bucket])
			}
			delete(unmatched, n.Bucket)
		}
		if sum != c.Total {
			t.Errorf("%q: the counts sum up to %g, not to %g", c.Pattern, sum, c.Total)
		}
	}
	most := m.opts.MaxClusters
	if len(m.clusters) > most {
		t.Errorf("%d clusters, more than %d", len(m.clusters), most)
	}
	if m.made <= most && (total != float64(2*wanted) || len(unmatched) > 0) {
		t.Errorf("%g is counted of %d; missing %v", total, 2*wanted, unmatched)
	}
}

func TestClassesAndWeights(t *testing.T) {
	m := NewMiner(Options{})
	m.Add("took 5ms", "info", 0, 1)
	m.Add("took 7ms", "info", 0, 10)
	m.Add("took 7ms", "info", 3, 1)
	m.Add("took 9ms", "error", 1, 20)
	m.Add("", "info", 1, 1)
	got := fmt.Sprint(m.Clusters())
	if want := `[{took <_> error 20 [{1 20}]} {took <_> info 12 [{0 11} {3 1}]}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestForget adds noise beyond the bound: what is frequent stays.
func TestForget(t *testing.T) {
	m := NewMiner(Options{MaxClusters: 50})
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		m.Add(fmt.Sprintf("request %d done", i), "", 0, 1)
		words := make([]string, 3+noise.IntN(30)) // a shape of its own for each length
		for j := range words {
			words[j] = strings.Repeat(string(rune('a'+noise.IntN(26))), 1+noise.IntN(9)) + []string{",", ";", "="}[noise.IntN(3)]
		}
		m.Add(strings.Join(words, " "), "", 0, 1)
	}
	list := m.Clusters()
	if len(list) > 50 || list[0].Pattern != "request <_> done" || list[0].Total != 20_000 {
		t.Errorf("%d clusters, the largest is %q with %g", len(list), list[0].Pattern, list[0].Total)
	}
}

// TestLongLines cuts lines by bytes, words and entries by lines.
func TestLongLines(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"first\nsecond", "first<_>"},
		{"took 5ms\nsecond", "took <_>"},
		{"\nsecond", "<_>"},
		{strings.Repeat("a", 5000), "<_>"},
		{"head " + strings.Repeat("b", 5000), "head <_>"},
		{strings.Repeat("w ", 200), strings.Repeat("w ", maxWords) + "<_>"},
		{strings.Repeat("w ", maxWords), strings.Repeat("w ", maxWords)},
	} {
		m := NewMiner(Options{})
		m.Add(tt.line, "", 0, 1)
		if got := m.Clusters()[0].Pattern; got != tt.want {
			t.Errorf("%.30q… is %q, want %q", tt.line, got, tt.want)
		}
		if !matches(tt.want, tt.line) {
			t.Errorf("%q does not match %.30q…", tt.want, tt.line)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	m := NewMiner(Options{})
	lines := sampleLines(t)
	for _, line := range lines {
		m.Add(line, "info", 0, 1)
	}
	if n := testing.AllocsPerRun(10, func() {
		for _, line := range lines {
			m.Add(line, "info", 0, 1)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d lines that were seen before", n, len(lines))
	}
}

// TestCorpus groups what programs in a cluster write: few patterns, each right.
func TestCorpus(t *testing.T) {
	for k, most := range [corpus.NumKinds]int{
		corpus.JSON: 16, corpus.Logfmt: 8, corpus.Nginx: 18, corpus.Istio: 18, corpus.Klog: 6, corpus.Java: 15, corpus.Postgres: 4,
	} {
		_, lines := corpus.New(1).Fill(corpus.Kind(k), 3000, corpus.Start, 3600e9)
		check(t, lines, Options{})
		m := NewMiner(Options{})
		for _, line := range lines {
			m.Add(line, "", 0, 1)
		}
		if list := m.Clusters(); len(list) > most {
			t.Errorf("%s: %d patterns, more than %d", corpus.Kind(k), len(list), most)
			for _, c := range list {
				t.Log(c.Total, c.Pattern)
			}
		}
	}
}

func FuzzMiner(f *testing.F) {
	f.Add("connected to 10.0.0.1\x00connected to ::1\x00GET <_> x")
	f.Add("a=<nil> b\x00a=<x> c\x00a=1\x00<<a>>\x00-5 --5 .5\x00\xff/\xfe/1")
	f.Add(strings.Repeat("x:", 300) + "\x00{\"a\":\"b\",\"c\":1}\x00{\"a\":\"\",\"c\":1}")
	f.Fuzz(func(t *testing.T, text string) {
		check(t, strings.Split(text, "\x00"), Options{})
		check(t, strings.Split(text, "\x00"), Options{MaxClusters: 2, Similarity: 0.1})
	})
}

func BenchmarkAdd(b *testing.B) {
	for k := range corpus.Kind(corpus.NumKinds) {
		b.Run(k.String(), func(b *testing.B) {
			_, lines := corpus.New(1).Fill(k, 5000, corpus.Start, 3600e9)
			size := 0
			for _, l := range lines {
				size += len(l)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			m := NewMiner(Options{})
			for b.Loop() {
				for _, l := range lines {
					m.Add(l, "info", 0, 1)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(lines)), "ns/line")
		})
	}
}
