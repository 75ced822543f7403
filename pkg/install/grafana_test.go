package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// withGrafana is a cluster with the workloads of testdata/grafana files.
func withGrafana(t *testing.T, files ...string) *fake.Clientset {
	t.Helper()
	var objects []runtime.Object
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join("testdata", "grafana", f+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		list, err := decode(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			var typed runtime.Object = &appsv1.Deployment{}
			if o.GetKind() == "StatefulSet" {
				typed = &appsv1.StatefulSet{}
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, typed); err != nil {
				t.Fatal(err)
			}
			objects = append(objects, typed)
		}
	}
	return fake.NewClientset(objects...)
}

// TestResolveGrafana finds the place and the labels for what the sidecars load,
// and says why where it does not.
func TestResolveGrafana(t *testing.T) {
	const kps, own, none = "kube-prometheus-stack", "own-labels", "no-sidecar"
	for _, tc := range []struct {
		name   string
		files  []string
		change func(*Grafana)
		denied bool
		// source and board are NAMESPACE LABEL=VALUE, "" for none.
		source, board, note, err string
	}{
		{name: "none", note: ""},
		{name: "kube-prometheus-stack", files: []string{kps}, source: "monitoring grafana_datasource=1", board: "monitoring grafana_dashboard=1",
			note: "Grafana is deployment/kps-grafana in namespace monitoring: a data source in namespace monitoring"},
		{name: "own labels and namespaces", files: []string{own, none}, source: "observability team/datasource=yes", board: "tools team/dashboard=1", note: "statefulset/grafana in namespace tools"},
		{name: "no sidecar", files: []string{none}, note: "deployment/grafana in namespace plain) has no sidecar"},
		{name: "several", files: []string{kps, own}, note: "2 Grafanas were found (deployment/kps-grafana in namespace monitoring, statefulset/grafana in namespace tools): no data source was made; --grafana-namespace names one"},
		{name: "one of several", files: []string{kps, own}, change: func(g *Grafana) { g.Namespace = "tools" }, source: "observability team/datasource=yes", board: "tools team/dashboard=1", note: "in namespace tools"},
		{name: "a namespace without one", files: []string{kps}, change: func(g *Grafana) { g.Namespace = "elsewhere" }, source: "elsewhere grafana_datasource=1", board: "elsewhere grafana_dashboard=1",
			note: "no Grafana was found in namespace elsewhere: using the usual labels"},
		{name: "demanded", change: func(g *Grafana) { g.Enabled = AutoOn }, err: "grafana.enabled is true: no Grafana was found"},
		{name: "demanded, several", files: []string{kps, own}, change: func(g *Grafana) { g.Enabled = AutoOn }, err: "2 Grafanas were found"},
		{name: "not wanted", files: []string{kps}, change: func(g *Grafana) { g.Enabled = AutoOff }},
		{name: "no dashboards", files: []string{kps}, change: func(g *Grafana) { g.Dashboards.Enabled = false }, source: "monitoring grafana_datasource=1", note: "kps-grafana"},
		{name: "labels given", files: []string{kps}, change: func(g *Grafana) { g.Label, g.LabelValue, g.Dashboards.Label = "a", "b", "c" },
			source: "monitoring a=b", board: "monitoring c=1", note: "kps-grafana"},
		{name: "all given", change: func(g *Grafana) {
			*g = Grafana{Enabled: AutoDetect, Namespace: "x", Label: "a", LabelValue: "b", Dashboards: Dashboards{Enabled: true, Namespace: "y", Label: "c", LabelValue: "d"}}
		}, denied: true, source: "x a=b", board: "y c=d"},
		{name: "no right to look", denied: true, note: "may not look for a Grafana: no data source was made"},
		{name: "no right to look, namespace given", denied: true, change: func(g *Grafana) { g.Namespace = "x" }, source: "x grafana_datasource=1", board: "x grafana_dashboard=1", note: "using the usual labels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cs := withGrafana(t, tc.files...)
			if tc.denied {
				cs.PrependReactor("list", "*", func(k8stesting.Action) (bool, runtime.Object, error) {
					return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "", errors.New("no"))
				})
			}
			v := DefaultValues()
			if tc.change != nil {
				tc.change(&v.Grafana)
			}
			g, note, err := resolveGrafana(t.Context(), &kube.Client{Kube: cs}, v.Grafana)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(note, tc.note) || (tc.note == "") != (note == "") {
				t.Errorf("note %q, want %q", note, tc.note)
			}
			v.Grafana = g
			source, board := rendered(t, v)
			if source != tc.source || board != tc.board {
				t.Errorf("data source %q, want %q; dashboard %q, want %q", source, tc.source, board, tc.board)
			}
		})
	}
}

// TestGrafanaCredentials: a data source that is going to be refused is told.
func TestGrafanaCredentials(t *testing.T) {
	v := DefaultValues()
	v.ServiceMonitor, v.AlertRules, v.Auth.SecretName = AutoOff, AutoOff, "logs-auth"
	for _, files := range [][]string{nil, {"kube-prometheus-stack"}} {
		var notes []string
		obs := Observer{Note: func(text string) { notes = append(notes, text) }}
		if _, err := resolve(t.Context(), &kube.Client{Kube: withGrafana(t, files...)}, v, obs); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(notes, "\n"), "secret/logs-auth"); got != (files != nil) {
			t.Errorf("with %q: %q", files, notes)
		}
	}
}

// rendered says where the data source and the dashboard for logs are put.
func rendered(t *testing.T, v Values) (source, board string) {
	t.Helper()
	objs, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	place := func(o *unstructured.Unstructured) string {
		for k, value := range o.GetLabels() {
			if !strings.HasPrefix(k, "app.kubernetes.io/") {
				return o.GetNamespace() + " " + k + "=" + value
			}
		}
		return ""
	}
	for _, o := range objs {
		switch o.GetName() {
		case datasourceName:
			source = place(o)
		case dashboardName + "logs":
			board = place(o)
		}
	}
	return source, board
}

// TestDashboards: Grafana can import each dashboard, and the collector can answer
// every query in it.
func TestDashboards(t *testing.T) {
	for _, v := range []Values{valuesIn(Name), valuesIn("audit")} {
		files, err := dashboardFiles(v)
		if err != nil {
			t.Fatal(err)
		}
		uids := map[string]bool{}
		for _, f := range files {
			t.Run(f.name, func(t *testing.T) {
				uid := checkDashboard(t, f.text, sourceUID(v))
				if uids[uid] || !strings.HasPrefix(uid, "logstack-") || strings.HasSuffix(uid, "-audit") != (v.Namespace == "audit") || len(uid) > 40 {
					t.Errorf("uid %q", uid)
				}
				uids[uid] = true
			})
		}
		if !uids["logstack-logs"+suffix(v)] {
			t.Error("there is no dashboard for reading logs")
		}
	}
}

func valuesIn(namespace string) Values {
	v := DefaultValues()
	v.Namespace, v.Grafana.Namespace = namespace, "monitoring"
	return v
}

type grafanaPanel struct {
	ID         int
	Title      string
	Type       string
	Datasource struct{ Type, UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		RefID      string `json:"refId"`
		Expr       string
		Datasource struct{ Type, UID string }
	}
	Panels []grafanaPanel
}

func checkDashboard(t *testing.T, text []byte, source string) (uid string) {
	t.Helper()
	var d struct {
		UID, Title    string
		ID            *int
		SchemaVersion int
		Templating    struct {
			List []struct {
				Name, Type string
				Query      any
				Current    struct{ Value any }
			}
		}
		Panels []grafanaPanel
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.ID != nil || d.SchemaVersion < 36 || len(d.Panels) == 0 {
		t.Errorf("title %q, id %v, schemaVersion %d, %d panels", d.Title, d.ID, d.SchemaVersion, len(d.Panels))
	}
	// Grafana's own variables, as a query gets them.
	known := map[string]string{"__interval": "1m", "__range": "1h", "__auto": "1m", "__rate_interval": "1m"}
	for _, v := range d.Templating.List {
		known[v.Name] = "a|b"
		if v.Type == "datasource" && v.Query == "loki" && v.Current.Value != source {
			t.Errorf("the data source begins as %v, want %s", v.Current.Value, source)
		}
	}
	ids := map[int]bool{}
	var walk func(panels []grafanaPanel)
	walk = func(panels []grafanaPanel) {
		for i, p := range panels {
			if ids[p.ID] || p.ID <= 0 || p.Title == "" || p.Type == "" {
				t.Errorf("panel %d %q of type %q: ids are there once, titles and types are set", p.ID, p.Title, p.Type)
			}
			ids[p.ID] = true
			if g := p.GridPos; g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("panel %q does not fit into 24 columns: %+v", p.Title, g)
			}
			for _, q := range panels[:i] {
				if a, b := p.GridPos, q.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("panel %q covers %q", p.Title, q.Title)
				}
			}
			for _, q := range p.Targets {
				checkTarget(t, p.Title, q.Expr, q.Datasource.Type, q.Datasource.UID, known)
			}
			walk(p.Panels)
		}
	}
	walk(d.Panels)
	return d.UID
}

var grafanaVariable = regexp.MustCompile(`\$\{?(\w+)\}?`)

func checkTarget(t *testing.T, panel, expr, kind, uid string, known map[string]string) {
	t.Helper()
	if name := strings.Trim(uid, "${}"); uid != "${"+name+"}" || known[name] == "" {
		t.Errorf("panel %q: its data source is %q and no variable of the dashboard", panel, uid)
	}
	query := grafanaVariable.ReplaceAllStringFunc(expr, func(v string) string {
		value := known[strings.Trim(v, "${}")]
		if value == "" {
			t.Errorf("panel %q: variable %s is not defined", panel, v)
		}
		return value
	})
	if kind == "loki" {
		if _, err := logql.Parse(query); err != nil {
			t.Errorf("panel %q: %v", panel, err)
		}
	}
}

// fakeGrafana has Grafana's API for data sources and dashboards.
type fakeGrafana struct {
	t                     *testing.T
	sources, boards       map[string]map[string]any // by uid
	provisioned           bool
	code                  int // answers all with this, if not 0
	contentType, location string
	message               string
	calls                 []string
}

const grafanaToken = "glsa_secret"

func (f *fakeGrafana) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.calls = append(f.calls, r.Method+" "+r.URL.Path)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if f.contentType != "" {
		w.Header().Set("Content-Type", f.contentType)
	}
	answer := func(code int, body any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	if f.location != "" {
		w.Header().Set("Location", f.location)
	}
	if f.code != 0 {
		answer(f.code, map[string]any{"message": f.message})
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+grafanaToken {
		answer(401, map[string]any{"message": "Invalid API key"})
		return
	}
	var body map[string]any
	if r.Method != http.MethodGet {
		data, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(data, &body) != nil {
			f.t.Errorf("%s %s: body %q, %v", r.Method, r.URL.Path, data, err)
		}
	}
	path := strings.TrimPrefix(r.URL.Path, "/grafana")
	switch uid := path[strings.LastIndexByte(path, '/')+1:]; {
	case strings.HasPrefix(path, "/api/datasources/uid/") && f.sources[uid] == nil, strings.HasPrefix(path, "/api/dashboards/uid/") && f.boards[uid] == nil:
		answer(404, map[string]any{"message": "not found"})
	case strings.HasPrefix(path, "/api/datasources/uid/") && r.Method == http.MethodGet:
		answer(200, map[string]any{"uid": uid, "readOnly": f.provisioned})
	case strings.HasPrefix(path, "/api/datasources/uid/") && r.Method == http.MethodPut, path == "/api/datasources" && r.Method == http.MethodPost:
		f.sources[body["uid"].(string)] = body
		answer(200, map[string]any{})
	case strings.HasPrefix(path, "/api/dashboards/uid/"):
		answer(200, map[string]any{"meta": map[string]any{"provisioned": f.provisioned}, "dashboard": map[string]any{}})
	case path == "/api/dashboards/db" && r.Method == http.MethodPost:
		board := body["dashboard"].(map[string]any)
		if id, has := board["id"]; !has || id != nil || body["overwrite"] != true {
			f.t.Errorf("dashboard with id %v, overwrite %v", id, body["overwrite"])
		}
		f.boards[board["uid"].(string)] = board
		answer(200, map[string]any{"status": "success"})
	default:
		f.t.Errorf("unknown call %s %s", r.Method, r.URL.Path)
		answer(500, map[string]any{})
	}
}

// TestGrafanaAPI adds, renews, and leaves what is provisioned.
func TestGrafanaAPI(t *testing.T) {
	f := &fakeGrafana{t: t, sources: map[string]map[string]any{}, boards: map[string]map[string]any{}}
	srv := httptest.NewServer(f)
	defer srv.Close()
	v := DefaultValues()
	add := func(source string) []string {
		t.Helper()
		var steps []string
		g := GrafanaAPI{URL: srv.URL + "/grafana/", Token: grafanaToken, Source: source}
		err := g.Add(t.Context(), v, Observer{Applied: func(object string, change kube.Change) { steps = append(steps, fmt.Sprint(object, " ", change)) }})
		if err != nil {
			t.Fatal(err)
		}
		return steps
	}
	if got := add(""); got[0] != "grafana data source logstack created" || got[len(got)-1] != "grafana dashboard Logs created" {
		t.Errorf("first: %q", got)
	}
	want := map[string]any{
		"name": "logstack", "uid": "logstack", "type": "loki", "access": "proxy", "url": "http://logstack.logstack.svc:3100",
		"isDefault": false, "jsonData": map[string]any{"maxLines": 1000.0},
	}
	if diff := cmp.Diff(want, f.sources["logstack"]); diff != "" {
		t.Errorf("data source (-want +got):\n%s", diff)
	}
	if f.boards["logstack-logs"]["title"] != "Logs" {
		t.Errorf("dashboard %v", f.boards["logstack-logs"])
	}
	if got := add("https://logs.example"); got[0] != "grafana data source logstack configured" || f.sources["logstack"]["url"] != "https://logs.example" {
		t.Errorf("again: %q, url %v", got, f.sources["logstack"]["url"])
	}
	f.provisioned, f.calls = true, nil
	if got := add(""); !strings.Contains(got[0], "provisioned") || !strings.Contains(got[len(got)-1], "provisioned") || strings.Contains(fmt.Sprint(f.calls), "POST") || strings.Contains(fmt.Sprint(f.calls), "PUT") {
		t.Errorf("provisioned: %q after %q", got, f.calls)
	}
	f.provisioned = false
	v.Namespace = "audit"
	add("")
	if s := f.sources["logstack-audit"]; s["url"] != "http://logstack.audit.svc:3100" || f.boards["logstack-logs-audit"] == nil {
		t.Errorf("a second installation: %v", s)
	}
}

// TestGrafanaAPIErrors: each says what to do, and none has the token in it.
func TestGrafanaAPIErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fake   fakeGrafana
		change func(*GrafanaAPI)
		want   string
	}{
		{name: "unknown token", change: func(g *GrafanaAPI) { g.Token = "other_token" }, want: "does not know the token"},
		{name: "no rights", fake: fakeGrafana{code: 403, message: "You'll need additional permissions: " + grafanaToken}, want: "it needs the role Admin"},
		{name: "name taken", fake: fakeGrafana{code: 409, message: "data source with the same name already exists"}, want: "rename or delete"},
		{name: "broken", fake: fakeGrafana{code: 500, message: "Internal\nerror"}, want: "answered 500 Internal Server Error: Internal error"},
		{name: "login page", fake: fakeGrafana{code: 302, location: "/login?redirect=secret"}, want: "redirects to /login:"},
		{name: "another server", fake: fakeGrafana{code: 200, contentType: "text/html"}, want: "not with Grafana's API"},
		{name: "not found by another server", fake: fakeGrafana{code: 404, contentType: "text/plain"}, want: "not with Grafana's API"},
		{name: "nobody there", change: func(g *GrafanaAPI) { g.URL = "http://127.0.0.1:1" }, want: "was not reached"},
		{name: "no URL", change: func(g *GrafanaAPI) { g.URL = "grafana.example" }, want: "not http:// or https://"},
		{name: "password in URL", change: func(g *GrafanaAPI) { g.URL = "https://admin:" + grafanaToken + "@grafana.example" }, want: "has a user in it"},
		{name: "bad source", change: func(g *GrafanaAPI) { g.Source = "logs" }, want: "URL of the data source"},
		{name: "no token", change: func(g *GrafanaAPI) { g.Token = "" }, want: "no token"},
		{name: "two tokens", change: func(g *GrafanaAPI) { g.Token += "\n" + grafanaToken }, want: "more than one line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.fake.t, tc.fake.sources = t, map[string]map[string]any{}
			srv := httptest.NewServer(&tc.fake)
			defer srv.Close()
			g := GrafanaAPI{URL: srv.URL, Token: grafanaToken}
			if tc.change != nil {
				tc.change(&g)
			}
			err := g.Add(t.Context(), DefaultValues(), Observer{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), grafanaToken) || strings.Contains(err.Error(), "other_token") || strings.Contains(err.Error(), "redirect=") {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}
}
