package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// storyNamespace is the one of the story; a cluster that has one of its own is
// left alone.
const storyNamespace = "monitoring"

// TestDoctorStory puts the four problems of a debugging odyssey into a cluster:
// values that the chart ignores since 6.0.0, a path that a relabel rule builds
// wrong, a DaemonSet that PodSecurity refuses, and a Service name that does not
// exist. doctor names each with its object and line; what it prints as the fix
// is applied, and the problem is gone.
func TestDoctorStory(t *testing.T) {
	story := newStory(t)
	story.apply(t, "cluster.yaml")
	story.setAlloy(t, story.read(t, "alloy.config"))
	story.apply(t, "alloy-daemonset.yaml")
	values := story.read(t, "values.yaml")
	story.setRelease(t, 1, values)
	mustKubectl(t, "", "-n", storyNamespace, "wait", "--for=condition=Ready", "pod/monitoring-loki-0", "--timeout=60s")
	eventually(t, time.Minute, func() string {
		if !strings.Contains(mustKubectl(t, "", "-n", storyNamespace, "get", "events", "--field-selector=reason=FailedCreate", "-o", "jsonpath={.items[*].message}"), "violates PodSecurity") {
			return "the DaemonSet was not refused"
		}
		return ""
	})

	r := story.doctor(t)
	t.Logf("before: %s", r.Summary)
	if r.ExitCode != doctor.ExitFindings {
		t.Errorf("exit code %d, want %d", r.ExitCode, doctor.ExitFindings)
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Status == doctor.Error {
			t.Logf("%s %s: %s\n  fix: %s", f.Code, f.Object, f.Detail, f.Fix)
		}
	}

	t.Run("from inside", func(t *testing.T) {
		probed := story.doctor(t, "--probe", "--probe-image", collectorImage, "--only", "LS0515")
		place := "configmap/monitoring/monitoring-alloy data[config.alloy]:" + lineOf(story.alloy, "http://")
		probed.want(t, "LS0515", doctor.Error, place, "from namespace monitoring, http://loki.monitoring.svc.cluster.local:3100/ready: no such host (dns)")
		if left := mustKubectl(t, "", "get", "pods", "-A", "-l", "app.kubernetes.io/name=logstack-probe", "-o", "name"); strings.TrimSpace(left) != "" {
			t.Errorf("left: %s", left)
		}
	})

	t.Run("values that moved", func(t *testing.T) {
		place := "release/monitoring/monitoring monitoring.lokiCanary (line " + valuesLine(t, values, "  lokiCanary:") + " of helm get values monitoring -n monitoring)"
		f := r.want(t, "LS0601", doctor.Error, place, "6.0.0")
		canary := r.want(t, "LS0405", doctor.Warning, "daemonset/monitoring/loki-canary", "")
		r.explained(t, canary, f)
		caches := r.want(t, "LS0605", doctor.Warning, "release/monitoring/monitoring", "chunksCache")
		results := r.want(t, "LS0605", doctor.Warning, "release/monitoring/monitoring", "resultsCache")
		if t.Failed() {
			return
		}
		for _, patch := range []string{f.Patch, caches.Patch, results.Patch} {
			values = patchValues(t, values, patch)
		}
		story.setRelease(t, 2, values)
		// What Helm does with the new values.
		mustKubectl(t, "", "-n", storyNamespace, "delete", "daemonset", "loki-canary", "--wait=true")
		story.doctor(t).green(t, "LS0601", "LS0605", "LS0405", "LS0607")
	})

	t.Run("a path that comes out wrong", func(t *testing.T) {
		f := r.want(t, "LS0705", doctor.Error, "configmap/monitoring/monitoring-alloy data[config.alloy]:"+lineOf(story.alloy, "replacement"), "$1_")
		if t.Failed() {
			return
		}
		line := regexp.MustCompile(`replacement += "[^"]*"`)
		story.setAlloy(t, line.ReplaceAllLiteralString(story.alloy, line.FindString(f.Fix)))
		// LS0704 runs the mended rules on the pods of this cluster.
		story.doctor(t).green(t, "LS0705", "LS0704", "LS0706")
	})

	t.Run("a pod that PodSecurity refuses", func(t *testing.T) {
		f := r.want(t, "LS0301", doctor.Error, "daemonset/monitoring/monitoring-alloy", `violates PodSecurity "baseline:latest": hostPath volumes (volume "varlog")`)
		refused := r.want(t, "LS0302", doctor.Error, "daemonset/monitoring/monitoring-alloy", "violates PodSecurity")
		r.explained(t, refused, f)
		if t.Failed() {
			return
		}
		if !strings.Contains(f.Fix, "loki.source.kubernetes") {
			t.Errorf("the fix does not name the way without mounts: %s", f.Fix)
		}
		// The second half of the fix is a command.
		_, command, _ := strings.Cut(f.Fix, ", or: kubectl ")
		mustKubectl(t, "", strings.Fields(command)...)
		story.doctor(t, "--only", "LS0301,LS0304").green(t, "LS0301", "LS0304")
		mustKubectl(t, "", "label", "namespace", storyNamespace, "pod-security.kubernetes.io/enforce=baseline", "--overwrite")
		// The first half is the one that the story took: through the API.
		mustKubectl(t, "", "-n", storyNamespace, "delete", "daemonset", "monitoring-alloy", "--wait=true")
		mustKubectl(t, "", "-n", storyNamespace, "delete", "pod", "-l", "app.kubernetes.io/name=alloy", "--wait=true", "--ignore-not-found")
		story.setAlloy(t, story.read(t, "alloy-api.config"))
		story.apply(t, "alloy-deployment.yaml")
		story.doctor(t).green(t, "LS0301", "LS0302", "LS0304", "LS0408", "LS0707", "LS0709")
	})

	t.Run("a Service name that does not exist", func(t *testing.T) {
		f := r.want(t, "LS0501", doctor.Error, "configmap/monitoring/monitoring-alloy data[config.alloy]:"+lineOf(story.read(t, "alloy.config"), "http://"), "loki.monitoring.svc.cluster.local")
		ds := r.want(t, "LS0804", doctor.Error, "configmap/monitoring/loki-datasource data[loki.yaml]:7", "loki.monitoring.svc.cluster.local")
		if t.Failed() {
			return
		}
		push, base := firstURL(t, f.Fix), firstURL(t, ds.Fix)
		if push != "http://monitoring-loki.monitoring.svc.cluster.local:3100/loki/api/v1/push" || base != "http://monitoring-loki.monitoring.svc.cluster.local:3100" {
			t.Errorf("the fixes name %s and %s", push, base)
		}
		story.setAlloy(t, regexp.MustCompile(`http://[^"]*/push`).ReplaceAllLiteralString(story.alloy, push))
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"loki.yaml": "apiVersion: 1\ndatasources:\n  - {name: Loki, type: loki, uid: loki, access: proxy, url: \"" + base + "\"}\n"}})
		if err != nil {
			t.Fatal(err)
		}
		mustKubectl(t, "", "-n", storyNamespace, "patch", "configmap", "loki-datasource", "--type=merge", "-p", string(patch))
		story.doctor(t).green(t, "LS0501", "LS0804", "LS0502", "LS0503")
	})

	r = story.doctor(t)
	t.Logf("after: %s", r.Summary)
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Problem() {
			t.Logf("%s %s %s: %s", f.Code, f.Status, f.Object, f.Detail)
		}
	}
	if r.ExitCode != doctor.ExitOK {
		t.Errorf("exit code %d after all fixes", r.ExitCode)
	}
}

// TestDoctorFlow follows a line through our own stack: it arrives, each step of
// its way has a time, and nothing else of the log flow is wrong.
func TestDoctorFlow(t *testing.T) {
	mustPlugin(t, "install", "--image", collectorImage)
	r := (&story{}).doctor(t, "--only", "flow,time,storage,LS0715")
	t.Log(r.Summary)
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Status != doctor.None {
			t.Logf("%s %s %s %s", f.Code, f.Status, f.Object, f.Detail)
		}
		if f.Code == "LS1001" && !regexp.MustCompile(`^after \S+: written \S+ → read \S+ → stored \S+ → queryable \S+$`).MatchString(f.Detail) {
			t.Errorf("LS1001 %s: %s", f.Status, f.Detail)
		}
		if f.Status == doctor.Error {
			t.Errorf("%s: %s", f.Code, f.Detail)
		}
	}
}

// maxCalls is what a whole run may ask of the API server.
const maxCalls = 100

// TestDoctorCalls counts the requests of a whole run on a cluster whose
// collector answers.
func TestDoctorCalls(t *testing.T) {
	mustPlugin(t, "install", "--image", collectorImage)
	flags := genericclioptions.NewConfigFlags(true)
	config, err := flags.ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		t.Logf("%s %s", r.Method, r.URL.Path)
		proxy.ServeHTTP(w, r)
	}))
	defer api.Close()
	started := time.Now()
	r := (&story{}).doctor(t, "--server", api.URL)
	t.Logf("%d calls in %s: %s", calls.Load(), time.Since(started).Round(time.Millisecond), r.Summary)
	if n := calls.Load(); n >= maxCalls {
		t.Errorf("%d calls, want less than %d", n, maxCalls)
	}
}

// viewerNamespace is that of a user who may read in it and nowhere else.
const viewerNamespace = "e2e-viewer"

// TestDoctorReadOnly: what a user may not look at is a skip that names the
// right, never a pass.
func TestDoctorReadOnly(t *testing.T) {
	remove := func() {
		mustKubectl(t, "", "delete", "namespace", viewerNamespace, "--ignore-not-found", "--wait=true")
	}
	remove()
	t.Cleanup(remove)
	mustKubectl(t, "", "create", "namespace", viewerNamespace)
	mustKubectl(t, "", "-n", viewerNamespace, "create", "serviceaccount", "viewer")
	mustKubectl(t, "", "-n", viewerNamespace, "create", "rolebinding", "viewer", "--clusterrole=view", "--serviceaccount="+viewerNamespace+":viewer")
	r := (&story{}).doctor(t, "-n", viewerNamespace, "--as", "system:serviceaccount:"+viewerNamespace+":viewer")
	t.Log(r.Summary)
	skipped := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Status != doctor.Skip {
			continue
		}
		skipped[f.Code] = true
		if f.Right == "" {
			t.Errorf("%s names no right: %s", f.Code, f.Detail)
		}
	}
	for _, code := range []string{"LS0206", "LS0408", "LS0601", "LS0701", "LS1101", "LS1202"} {
		if !skipped[code] {
			t.Errorf("%s is no skip, and nobody may look", code)
		}
	}
}

type story struct{ alloy string }

func newStory(t *testing.T) *story {
	got := mustKubectl(t, "", "get", "namespace", storyNamespace, "--ignore-not-found", "-o", `jsonpath={.metadata.name} {.metadata.labels.logstack\.dev/e2e}`)
	if name, mark, _ := strings.Cut(strings.TrimSpace(got), " "); name != "" && mark != "story" {
		t.Skipf("this cluster has a namespace %s of its own", storyNamespace)
	}
	remove := func() {
		mustKubectl(t, "", "delete", "namespace", storyNamespace, "--ignore-not-found", "--wait=true")
		mustKubectl(t, "", "delete", "clusterrole,clusterrolebinding", "-l", "logstack.dev/e2e=story", "--ignore-not-found")
	}
	remove()
	if os.Getenv("LOGSTACK_E2E_KEEP") == "" {
		t.Cleanup(remove)
	}
	return &story{}
}

func (*story) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "story", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *story) apply(t *testing.T, name string) {
	t.Helper()
	mustKubectl(t, s.read(t, name), "apply", "-f", "-")
}

// setAlloy writes the ConfigMap of Alloy.
func (s *story) setAlloy(t *testing.T, config string) {
	t.Helper()
	s.alloy = config
	applyObject(t, "ConfigMap", "monitoring-alloy", map[string]any{"data": map[string]string{"config.alloy": config}})
}

// setRelease writes what Helm keeps of a revision of the release "monitoring".
func (s *story) setRelease(t *testing.T, revision int, values string) {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(values), &config); err != nil {
		t.Fatal(err)
	}
	stored, err := snapshot.EncodeRelease(map[string]any{
		"name": "monitoring", "namespace": storyNamespace, "version": revision,
		"info":   map[string]any{"status": "deployed", "description": "Upgrade complete"},
		"config": config,
		"chart":  map[string]any{"metadata": map[string]any{"name": "loki", "version": "6.55.0", "home": "https://grafana.github.io/helm-charts", "sources": []string{"https://github.com/grafana/loki"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	applyObject(t, "Secret", fmt.Sprintf("sh.helm.release.v1.monitoring.v%d", revision), map[string]any{
		"type": "helm.sh/release.v1", "stringData": map[string]string{"release": string(stored)},
	}, "owner", "helm", "name", "monitoring", "status", "deployed", "version", fmt.Sprint(revision))
	if revision > 1 {
		mustKubectl(t, "", "-n", storyNamespace, "label", "secret", fmt.Sprintf("sh.helm.release.v1.monitoring.v%d", revision-1), "status=superseded", "--overwrite")
	}
}

func applyObject(t *testing.T, kind, name string, fields map[string]any, labels ...string) {
	t.Helper()
	m := map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		m[labels[i]] = labels[i+1]
	}
	fields["apiVersion"], fields["kind"] = "v1", kind
	fields["metadata"] = map[string]any{"name": name, "namespace": storyNamespace, "labels": m}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	mustKubectl(t, string(text), "apply", "-f", "-")
}

// report is a report as -o json prints it.
type report struct{ doctor.Report }

func (*story) doctor(t *testing.T, args ...string) *report {
	t.Helper()
	res := plugin(t, append([]string{"doctor", "-o", "json"}, args...)...)
	var r report
	if err := json.Unmarshal([]byte(res.stdout), &r.Report); err != nil {
		t.Fatalf("doctor: exit code %d, %v\n%s%s", res.code, err, res.stdout, res.stderr)
	}
	if res.code != r.ExitCode {
		t.Errorf("exit code %d, and %d in the report", res.code, r.ExitCode)
	}
	return &r
}

// want finds a finding of a code whose object and text contain these words.
func (r *report) want(t *testing.T, code string, status doctor.Status, object, words string) *doctor.Finding {
	t.Helper()
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code == code && f.Status == status && strings.Contains(f.Object, object) && strings.Contains(f.Detail, words) && f.Fix != "" {
			return f
		}
	}
	t.Errorf("not found: %s %s %s %q", code, status, object, words)
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Code == code {
			t.Logf("%s %s %s: %s", f.Code, f.Status, f.Object, f.Detail)
		}
	}
	return &doctor.Finding{}
}

// explained wants the symptom to point at a cause of this code.
func (r *report) explained(t *testing.T, symptom, cause *doctor.Finding) {
	t.Helper()
	if symptom.ExplainedBy == nil || r.Findings[*symptom.ExplainedBy].Code != cause.Code {
		t.Errorf("%s %s is not explained by %s", symptom.Code, symptom.Object, cause.Code)
	}
}

// green wants no problem of these codes in the story's namespace.
func (r *report) green(t *testing.T, codes ...string) {
	t.Helper()
	for i := range r.Findings {
		f := &r.Findings[i]
		for _, c := range codes {
			if f.Code == c && (f.Problem() || f.Status == doctor.Skip) && (f.Ref.Namespace == "" || f.Ref.Namespace == storyNamespace) {
				t.Errorf("still there: %s %s %s: %s", f.Code, f.Status, f.Object, f.Detail)
			}
		}
	}
}

// lineOf is the number of the first line that contains a word, with a colon.
func lineOf(text, word string) string {
	before, _, _ := strings.Cut(text, word)
	return fmt.Sprintf("%d:", 1+strings.Count(before, "\n"))
}

// valuesLine is the number of the line that begins with a key in what helm get
// values prints of these values.
func valuesLine(t *testing.T, values, key string) string {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(values), &config); err != nil {
		t.Fatal(err)
	}
	text, err := sigsyaml.Marshal(config) // as Helm does
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(lineOf("USER-SUPPLIED VALUES:\n"+string(text), key), ":")
}

func firstURL(t *testing.T, fix string) string {
	t.Helper()
	u := regexp.MustCompile(`http://[^\s"]+`).FindString(fix)
	if u == "" {
		t.Errorf("no URL in %q", fix)
	}
	return u
}

// patchValues applies what doctor prints for values: lines with - are taken
// out, those with + are put in, each set a tree of its own.
func patchValues(t *testing.T, values, patch string) string {
	t.Helper()
	parts := map[byte]string{}
	for line := range strings.Lines(patch) {
		if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+") {
			parts[line[0]] += line[1:]
		}
	}
	tree := func(text string) map[string]any {
		m := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return m
	}
	all := tree(values)
	remove(all, tree(parts['-']))
	merge(all, tree(parts['+']))
	out, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func remove(from, what map[string]any) {
	for k, v := range what {
		below, isMap := v.(map[string]any)
		into, hasMap := from[k].(map[string]any)
		if isMap && hasMap {
			if remove(into, below); len(into) > 0 {
				continue
			}
		}
		delete(from, k)
	}
}

func merge(into, what map[string]any) {
	for k, v := range what {
		below, isMap := v.(map[string]any)
		if old, ok := into[k].(map[string]any); isMap && ok {
			merge(old, below)
			continue
		}
		into[k] = v
	}
}
