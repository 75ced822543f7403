package snapshot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func offline(t testing.TB, o FileOptions, files ...string) (*Snapshot, error) {
	t.Helper()
	return Load(context.Background(), Request{Files: files, FileOptions: o, StackNamespace: "logstack", StackName: "logstack", Now: now})
}

// TestRecognised: each form of a configuration is known by its content.
func TestRecognised(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		product    Product
	}{
		"alloy":       {"a.alloy", "logging { }\n", Alloy},
		"promtail":    {"promtail.yaml", "clients: [{url: http://x}]\npositions: {}\nscrape_configs: []\n", Promtail},
		"fluent bit":  {"fluent-bit.conf", "[SERVICE]\n  Flush 1\n", FluentBit},
		"fluent yaml": {"fb.yaml", "pipeline: {inputs: [], outputs: [{name: loki}]}\n", FluentBit},
		"vector":      {"vector.yaml", "sources: {}\nsinks: {}\n", Vector},
		"vector toml": {"vector.toml", "# x\n[sources.k]\ntype = \"kubernetes_logs\"\n[sinks.l]\ninputs = [\"k\"]\n", Vector},
		"broken toml": {"vector.toml", "[sources.k]\n[sinks.l]\ninputs = [\n", Vector},
		"vector json": {"vector.json", "{\n\t\"sources\": {\"k\": {}},\n\t\"sinks\": {}\n}\n", Vector},
		"vector map":  {"cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {vector.toml: \"[sources.a]\\n[sinks.b]\\n\"}\n", Vector},
		"otel":        {"otel.yaml", "receivers: {}\nexporters: {}\nservice: {}\n", OTel},
		"configmap":   {"cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {config.alloy: \"logging { }\"}\n", Alloy},
		"secret":      {"s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {promtail.yaml: \"{clients: [], positions: {}}\"}\n", Promtail},
		"list":        {"l.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: x}\n  data: {config.alloy: \"logging { }\"}\n", Alloy},
	} {
		s, err := offline(t, FileOptions{}, write(t, tc.file, tc.text))
		if err != nil || len(s.Collectors()) != 1 || s.Collectors()[0].Product != tc.product {
			t.Errorf("%s: %v %v", name, s, err)
		}
	}
	s, err := offline(t, FileOptions{Stdin: strings.NewReader("loki.write \"x\" {\n}\n")}, "-")
	if err != nil || len(s.Collectors()) != 1 || s.Collectors()[0].Config.Ref.File != "stdin" {
		t.Errorf("stdin: %v", err)
	}
}

// TestForeignTOML: in a directory, the TOML of other tools is nobody's business;
// named, it is a mistake.
func TestForeignTOML(t *testing.T) {
	file := write(t, "Cargo.toml", "[package]\nname = \"x\"\n")
	if s, err := offline(t, FileOptions{}, filepath.Dir(file)); err != nil || len(s.Notes) > 0 {
		t.Errorf("%v %v", s.Notes, err)
	}
	if _, err := offline(t, FileOptions{}, file); err == nil || !strings.Contains(err.Error(), "no configuration that doctor knows") {
		t.Error(err)
	}
}

func TestFileErrors(t *testing.T) {
	for name, tc := range map[string]struct{ file, text, want string }{
		"broken yaml":   {"x.yaml", "a: [\nb", "line"},
		"unknown":       {"x.yaml", "a: 1\n", "--chart loki@6.55.0"},
		"no mapping":    {"x.yaml", "- a\n", "no mapping"},
		"toml":          {"vector.toml", "[sources]\n", "no configuration"},
		"wrong type":    {"x.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: 3}\n", "x.yaml:1: Service: spec.ports cannot be a number"},
		"template":      {"x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n", "looks like a template"},
		"group version": {"x.yaml", "apiVersion: a/b/c\nkind: Service\n", "x.yaml:1"},
	} {
		_, err := offline(t, FileOptions{}, write(t, tc.file, tc.text))
		var fe *FileError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := offline(t, FileOptions{}, "does-not-exist.yaml"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}

// TestDirectory: in a directory, what is not understood gets a note.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a/svc.yaml":                    "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n---\napiVersion: apps/v1\nkind: Unheard\nmetadata: {name: y}\n",
		"a/other.yaml":                  "a: 1\n",
		"a/chart/templates/x.yaml":      "{{ if .Values.x }}\na: b\n{{ end }}\n",
		"a/broken-template.yaml":        "a: {{ .Values.x }}: [\n",
		".git/config.yaml":              "a: [\n",
		"README.md":                     "#",
		"a/loki/kustomization.yaml":     "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [x]\n",
		"a/loki/release.yaml":           "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: loki, namespace: flux-system}\nspec: {targetNamespace: monitoring, chart: {spec: {chart: loki, version: 6.55.0}}}\n",
		"a/empty.yaml":                  "# nothing\n",
		"a/alloy/values-production.yml": "alloy: {}\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := offline(t, FileOptions{Namespace: "logs", GuessChart: func(keys []string) string {
		if slices.Contains(keys, "alloy") {
			return "alloy"
		}
		return ""
	}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Services()) != 1 || s.Services()[0].Namespace != "logs" || len(s.HelmReleases()) != 1 || len(s.Releases()) != 2 {
		t.Errorf("%d services, %d releases", len(s.Services()), len(s.Releases()))
	}
	if r := s.Releases()[0]; r.Name != "monitoring-loki" || r.Namespace != "monitoring" {
		t.Errorf("%s/%s", r.Namespace, r.Name)
	}
	if len(s.Notes) != 2 {
		t.Errorf("notes %q", s.Notes)
	}
	if !slices.Equal(s.Scope(Services), []string{"logs"}) || s.Covers(Services, "monitoring") || s.Missing(Pods) == nil || !s.Missing(Pods).Offline {
		t.Error("files show only what they mention")
	}
}

// TestPositions: a place inside of a text inside of YAML is a place in the file.
func TestPositions(t *testing.T) {
	text := `apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data:
  block.alloy: |

    logging {
      level = "x"
    }
  flow.alloy: "logging { level = 1 }"
  plain.alloy: logging { }
`
	s, err := offline(t, FileOptions{}, write(t, "cm.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	cm := s.ConfigMaps()[0]
	for _, tc := range []struct {
		key          string
		line, column int
		want         string
	}{
		{"block.alloy", 3, 3, ":8:7"}, {"flow.alloy", 1, 11, ":10:26"}, {"plain.alloy", 1, 1, ":11:16"},
	} {
		got := s.DataText(cm, tc.key).At(tc.line, tc.column)
		if pos := got.String(); !strings.Contains(pos, "cm.yaml"+tc.want) {
			t.Errorf("%s: %s, want %s", tc.key, pos, tc.want)
		}
	}
	if got := s.DataText(cm, "block.alloy").Offset(strings.Index(cm.Data["block.alloy"], "level")).Line; got != 8 {
		t.Errorf("line %d", got)
	}
	if r := s.Ref(cm, "metadata", "name"); r.Line != 3 || r.Column != 12 {
		t.Errorf("%+v", r)
	}
}

// TestHelmValues: values of a HelmRelease come from inline values before
// ConfigMaps; what could not be read is named.
func TestHelmValues(t *testing.T) {
	s, err := offline(t, FileOptions{}, write(t, "hr.yaml", `apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: loki, namespace: flux-system}
spec:
  chart: {spec: {chart: loki, version: "~6.5"}}
  valuesFrom:
    - {kind: ConfigMap, name: base}
    - {kind: Secret, name: creds}
  values: {a: {x: inline}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: base, namespace: flux-system}
data:
  values.yaml: |
    a: {x: base, y: base}
    b: base
`))
	if err != nil {
		t.Fatal(err)
	}
	r := s.Releases()[0]
	if r.String("a", "x") != "inline" || r.String("a", "y") != "base" || r.String("b") != "base" || r.Version != "" || r.Constraint != "~6.5" {
		t.Errorf("%+v", r)
	}
	if len(r.Incomplete) != 1 || !strings.Contains(r.Incomplete[0].What, "creds") {
		t.Errorf("incomplete %v", r.Incomplete)
	}
	if ref := r.Ref("a", "x"); ref.Line != 9 {
		t.Errorf("%+v", ref)
	}
	s, err = offline(t, FileOptions{}, write(t, "app.yaml", `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: logs, namespace: argocd}
spec:
  destination: {namespace: monitoring}
  sources:
    - {repoURL: https://example.com/x.git, path: y}
    - repoURL: https://grafana.github.io/helm-charts
      chart: loki
      targetRevision: 6.55.0
      helm:
        values: |
          lokiCanary:
            enabled: false
`))
	if err != nil {
		t.Fatal(err)
	}
	if r = s.Releases()[0]; r.Name != "logs" || r.Namespace != "monitoring" || r.Version != "6.55.0" || r.String("lokiCanary", "enabled") != "false" || r.Ref("lokiCanary", "enabled").Line != 14 {
		t.Errorf("%+v %+v", r, r.Ref("lokiCanary", "enabled"))
	}
}

func TestDecodeReleaseErrors(t *testing.T) {
	for _, bad := range []string{"", "%%%", "bm9ib2R5", "H4sIAAAA"} {
		if r, err := DecodeRelease([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

// TestRedacted: nothing that is secret leaves in a bundle.
func TestRedacted(t *testing.T) {
	s, err := offline(t, FileOptions{}, write(t, "x.yaml", `apiVersion: v1
kind: Secret
metadata: {name: s, namespace: a, annotations: {kubectl.kubernetes.io/last-applied-configuration: geheim1}}
stringData: {promtail.yaml: geheim2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: a, annotations: {kubectl.kubernetes.io/last-applied-configuration: geheim3}}
data:
  config.alloy: |
    loki.write "x" {
      endpoint {
        url = "http://user:geheim4@loki:3100/loki/api/v1/push"
        basic_auth { username = "u" }
        bearer_token = "geheim5"
      }
    }
  x.conf: "http_passwd geheim6"
  oneline.alloy: |
    loki.write "x" { endpoint { basic_auth { username = "u" password = "geheim9" } } }
    loki.write "y" { endpoint { basic_auth { username = "u" password = "geheim10 } } }
  ds.yaml: |
    datasources: [{url: http://x, secureJsonData: {basicAuthPassword: geheim11, httpHeaderValue1: "Bearer geheim12"}, keepthis: too}]
    keepafter: block
    password: |-
      geheim13

      geheim14
    keepbehind: it
  args.yaml: |
    - --basic-auth=u:geheim15 --client.password=geheim16 -x 'http://loki/?token=geheim17&keepparam=1'
  x.json: '{"user":"u","apiKey":"geheim18","keepjson":"1"}'
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: a}
spec: {template: {spec: {containers: [{name: x, image: i, env: [{name: DB_PASSWORD, value: geheim7}, {name: TOKEN, valueFrom: {secretKeyRef: {name: keepname, key: k}}}]}]}}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: loki, namespace: a}
spec: {values: {adminPassword: geheim8, keep: this}}
`))
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, f := range files {
		all.WriteString(f.Name + "\n")
		all.Write(f.Content)
	}
	if strings.Contains(all.String(), "geheim") {
		t.Error(all.String())
	}
	for _, want := range []string{"objects/secrets.yaml", "promtail.yaml: REDACTED", "keepname", "keep: this", "loki:3100/loki/api/v1/push", "keepthis: too", "keepafter: block", "keepbehind: it", "keepparam=1", `"keepjson":"1"`} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no %q in\n%s", want, all.String())
		}
	}
}

func FuzzDecodeRelease(f *testing.F) {
	good, err := EncodeRelease(map[string]any{"name": "x", "config": map[string]any{"a": 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("H4sI"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if r, err := DecodeRelease(b); err == nil {
			r.Value("a", "b")
			r.Ref("a")
		}
	})
}

// TestBadFileOfDirectory: one bad file is a note and the rest is examined;
// nothing but bad files is an error, and so is one that was named.
func TestBadFileOfDirectory(t *testing.T) {
	bad := map[string]string{
		"template.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n",
		"binary.yaml":   "\x00\x01\xff",
		"broken.yml":    "a: [\nb",
		"type.yaml":     "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: 3}\n",
	}
	for name, text := range bad {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var fe *FileError
		if _, err := offline(t, FileOptions{}, dir); !errors.As(err, &fe) {
			t.Errorf("%s alone: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "zz.yaml"), []byte("apiVersion: v1\nkind: Service\nmetadata: {name: svc}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := offline(t, FileOptions{}, dir)
		if err != nil || len(s.Services()) != 1 || len(s.Notes) != 1 || !strings.HasPrefix(s.Notes[0], file) || !strings.Contains(s.Notes[0], ": not read: ") || strings.Contains(s.Notes[0], "interface {}") {
			t.Errorf("%s beside another: %v", name, err)
			continue
		}
		if _, err := offline(t, FileOptions{}, dir, file); !errors.As(err, &fe) {
			t.Errorf("%s by name: %v", name, err)
		}
	}
}
