package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// fixtures are the files of testdata/fixtures with how they are to be read.
// The expectations stand in the files' own headers.
var fixtures = []struct {
	file      string
	with      []string // read along
	chart     string   // repo/name@version of values files
	release   string
	namespace string
	target    string
	// drop are expectations of the header that need what this run does not
	// have; add are others that this run has to have.
	drop, add []string
	// good fixtures have no finding of severity error.
	good bool
}{
	{file: "values/01-loki-5.48-good.yaml", chart: "grafana/loki@5.48.0", release: "loki", namespace: "monitoring", drop: []string{"LS0601", "LS0607", "LS0605"}, good: true},
	{file: "values/01-loki-5.48-good.yaml", chart: "grafana/loki@5.48.0", release: "loki", namespace: "monitoring", target: "6.55.0"},
	{file: "values/02-loki-6.55-blogpost-broken.yaml", chart: "grafana/loki@6.55.0", release: "monitoring", namespace: "monitoring"},
	{file: "values/03-loki-6.55-good.yaml", chart: "grafana/loki@6.55.0", release: "loki", namespace: "monitoring", good: true},
	{file: "values/04-loki-6.55-no-loki-at-all.yaml", chart: "grafana/loki@6.55.0", release: "monitoring", namespace: "monitoring"},
	{file: "values/08-alloy-file-broken.yaml", chart: "grafana/alloy@1.11.1", release: "alloy", namespace: "monitoring", with: []string{"cluster/services-loki-6.55-monitoring.yaml", "cluster/namespace-baseline.yaml"}},
	{file: "values/09-alloy-kubernetes-good.yaml", chart: "grafana/alloy@1.11.1", release: "alloy", namespace: "monitoring", with: []string{"cluster/services-loki-6.55-monitoring.yaml"}, good: true},
	{file: "values/11-promtail-default.yaml", chart: "grafana/promtail@6.17.1", release: "promtail", namespace: "monitoring", with: []string{"cluster/services-loki-6.55-monitoring.yaml", "cluster/namespace-baseline.yaml"}},
	{file: "values/13-loki-rke2-gateway.yaml", chart: "grafana-community/loki@18.11.0", release: "loki", namespace: "monitoring", with: []string{"../rke2-dns.yaml"}},
	{file: "flux/01-helmrelease-loki-blogpost.yaml"},
	{file: "flux/02-helmrelease-alloy-envsubst.yaml"},
	{file: "cluster/daemonset-alloy-hostpath.yaml", with: []string{"cluster/namespace-baseline.yaml"}, add: []string{"LS0302", "LS0303"}},
	{file: "cluster/endpointslice-empty.yaml", with: []string{"cluster/services-loki-6.55-monitoring.yaml"}},
	{file: "cluster/namespace-baseline.yaml", with: []string{"cluster/daemonset-alloy-hostpath.yaml"}},
	{file: "cluster/pods-problems.yaml"},
	{file: "collectors/promtail-secret.yaml", with: []string{"cluster/services-loki-6.55-monitoring.yaml", "../loki-auth.yaml"}},
	{file: "grafana/01-datasource-wrong-host.yaml", with: []string{"cluster/services-loki-6.55-monitoring.yaml"}},
	{file: "grafana/03-datasource-clashes.yaml", with: []string{"cluster/services-loki-6.55-monitoring.yaml", "../loki-auth.yaml"}},
	{file: "grafana/04-datasource-good.yaml", with: []string{"cluster/services-loki-6.55-monitoring.yaml"}, good: true},
	{file: "grafana/05-grafana-deployment.yaml", with: []string{"grafana/04-datasource-good.yaml", "cluster/services-loki-6.55-monitoring.yaml"}},
}

var expectCode = regexp.MustCompile(`(LS\d{4})(/LS\d{4})?`)

// expected reads the codes of a fixture's header, each with the status behind
// it, if one is given.
func expected(t *testing.T, file string) map[string]Status {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Status{}
	on := false
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		if on = on || strings.Contains(line, "EXPECT"); !on {
			continue
		}
		for _, loc := range expectCode.FindAllStringSubmatchIndex(line, -1) {
			rest := line[loc[1]:]
			code := line[loc[0]:loc[1]]
			if strings.Contains(line[:loc[0]], "->") {
				continue // what a finding leads to, not one of its own
			}
			words := strings.Fields(rest)
			st := Status("")
			if len(words) > 0 {
				st = map[string]Status{"error": Error, "error:": Error, "warn": Warning, "info": Info}[words[0]]
			}
			out[code] = st
		}
	}
	return out
}

// TestFixtures: every expectation is found, and no error beyond.
func TestFixtures(t *testing.T) {
	for _, fx := range fixtures {
		t.Run(fx.file+fx.target, func(t *testing.T) {
			want := expected(t, filepath.Join("testdata/fixtures", fx.file))
			for _, d := range fx.drop {
				delete(want, d)
			}
			for _, a := range fx.add {
				want[a] = ""
			}
			var files []string
			for _, f := range append([]string{fx.file}, fx.with...) {
				files = append(files, filepath.Join("testdata/fixtures", f))
			}
			req := snapshot.Request{Files: files, StackNamespace: "logstack", StackName: "logstack", Now: taken, Options: snapshot.Options{TargetVersion: fx.target}}
			o := snapshot.FileOptions{Release: fx.release, Namespace: fx.namespace}
			o.Chart, o.Version, _ = strings.Cut(fx.chart, "@")
			if i := strings.LastIndexByte(o.Chart, '/'); i >= 0 {
				o.Repo, o.Chart = o.Chart[:i], o.Chart[i+1:]
			}
			req.FileOptions = FileOptions(o)
			r := Run(load(t, req), Checks(), RunOptions{FailOn: Error})
			var codes []string
			for i := range r.Findings {
				f := &r.Findings[i]
				if f.Status == Error || f.Status == Warning || f.Status == Info {
					codes = append(codes, f.Code)
				}
				if f.Status != Error {
					continue
				}
				if !slices.ContainsFunc(keysOf(want), func(k string) bool { return strings.Contains(k, f.Code) }) && !inOther(fx.with, f.Ref.File) {
					t.Errorf("an error that is not expected: %s %s: %s", f.Code, f.Object, f.Detail)
				}
				if fx.good {
					t.Errorf("an error on a good fixture: %s", f.Code)
				}
			}
			for code, status := range want {
				found := false
				for i := range r.Findings {
					f := &r.Findings[i]
					found = found || strings.Contains(code, f.Code) && (status != "" && f.Status == status || status == "" && slices.Contains([]Status{Error, Warning, Info}, f.Status))
				}
				if _, registered := Lookup(code[:6]); !found && registered {
					t.Errorf("not found: %s %s (found %v)", code, status, codes)
				} else if !registered {
					t.Logf("no check %s yet", code)
				}
			}
			for i := range r.Findings {
				if f := &r.Findings[i]; f.Status != OK && f.Status != None {
					t.Logf("%s %s %s: %s\n   fix: %s", f.Code, f.Status, f.Object, f.Detail, f.Fix)
				}
			}
		})
	}
}

func keysOf(m map[string]Status) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

// inOther: errors that stand in a file which is only read along are judged
// where that file is the subject.
func inOther(with []string, file string) bool {
	return slices.ContainsFunc(with, func(w string) bool { return filepath.Join("testdata/fixtures", w) == file })
}
