package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// The printed file has every key, and its values are the defaults.
func TestDefaultValuesFile(t *testing.T) {
	got, err := ParseValues(Values{}, "values.yaml", DefaultValuesFile)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultValues()
	want.NodeSelector, want.Tolerations, want.Image.PullSecrets = map[string]string{}, []corev1.Toleration{}, []string{}
	want.Namespaces, want.Limits = []string{}, Limits{}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var tree map[string]any
	if err := sigsyaml.Unmarshal(DefaultValuesFile, &tree); err != nil {
		t.Fatal(err)
	}
	for _, key := range allKeys(valuesType, "") {
		var at any = tree
		for part := range strings.SplitSeq(key, ".") {
			m, _ := at.(map[string]any)
			at = m[part]
		}
		if at == nil {
			t.Errorf("values.yaml lacks %s", key)
		}
	}
}

func TestParseValues(t *testing.T) {
	got, err := ParseValues(DefaultValues(), "values.yaml", []byte(`
retention: 0
image: {tag: 1.20, pullSecrets: [mirror]}
storage:
  size: 4Gi
  class: &class local-path
nodeSelector:
  kubernetes.io/arch: arm64
tolerations:
  - {key: dedicated, value: *class, effect: NoSchedule}
  - {operator: Exists, effect: NoExecute, tolerationSeconds: 30}
networkPolicy: false
`))
	if err != nil {
		t.Fatal(err)
	}
	seconds := int64(30)
	want := DefaultValues()
	want.Retention, want.Image.Tag, want.Image.PullSecrets = "0", "1.20", []string{"mirror"}
	want.Storage.Size, want.Storage.Class = "4Gi", "local-path"
	want.NodeSelector = map[string]string{"kubernetes.io/arch": "arm64"}
	want.Tolerations = []corev1.Toleration{
		{Key: "dedicated", Value: "local-path", Effect: corev1.TaintEffectNoSchedule},
		{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
	}
	want.NetworkPolicy = false
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A later layer replaces lists and maps.
	again, err := ParseValues(got, "second.yaml", []byte("nodeSelector: {disk: ssd}\ntolerations: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"disk": "ssd"}, again.NodeSelector); d != "" || len(again.Tolerations) > 0 {
		t.Error(d, again.Tolerations)
	}
	if same, err := ParseValues(got, "empty.yaml", []byte("# nothing\n")); err != nil || !cmp.Equal(same, got) {
		t.Errorf("an empty file: %v", err)
	}
}

// Each file in testdata/badvalues says in its comments what must be told of it.
func TestBadValues(t *testing.T) {
	files, err := filepath.Glob("testdata/badvalues/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 45 {
		t.Fatalf("%d bad values files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(data)) {
				if w, ok := strings.CutPrefix(line, "# want "); ok {
					want = append(want, strings.TrimSpace(w))
				}
			}
			base := DefaultValues()
			got, err := ParseValues(base, "values.yaml", data)
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if !cmp.Equal(got, base) {
				t.Error("a refused file changed the values")
			}
			if *update {
				rewriteWants(t, file, data, err)
				return
			}
			if d := cmp.Diff(strings.Join(want, "\n"), err.Error()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// rewriteWants puts the message into the comments at the end of a bad file.
func rewriteWants(t *testing.T, file string, data []byte, told error) {
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "# want ") {
			out.WriteString(line)
		}
	}
	for line := range strings.SplitSeq(told.Error(), "\n") {
		out.WriteString("# want " + line + "\n")
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSetValue(t *testing.T) {
	v := DefaultValues()
	for _, s := range []string{"storage.size=4Gi", "retention=0", "nodeSelector.kubernetes.io/arch=arm64", "tolerations=[{operator: Exists}]", "networkPolicy=false", "image.tag=", "image.pullSecrets=[a, b]", "limits.max_line_size=1MB", "limits.max_label_value_length=1000000", "serviceMonitor=true", "namespaces=[a]"} {
		var err error
		if v, err = SetValue(v, s); err != nil {
			t.Fatal(err)
		}
	}
	want := DefaultValues()
	want.Storage.Size, want.Retention, want.NetworkPolicy = "4Gi", "0", false
	want.NodeSelector = map[string]string{"kubernetes.io/arch": "arm64"}
	want.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	want.Image.PullSecrets = []string{"a", "b"}
	want.Limits = Limits{"max_line_size": "1MB", "max_label_value_length": int64(1000000)}
	want.ServiceMonitor, want.Namespaces = AutoOn, []string{"a"}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
	for assignment, want := range map[string]string{
		"storage.size":          "--set storage.size: write KEY=VALUE, for example storage.size=4Gi",
		"=4Gi":                  "--set =4Gi: write KEY=VALUE, for example storage.size=4Gi",
		"storage.sise=4Gi":      "--set storage.sise=4Gi: storage.sise: unknown key; did you mean storage.size?",
		"storage=4Gi":           `--set storage=4Gi: storage: must be a map with the keys size, class, ephemeral, not "4Gi"`,
		"networkPolicy=perhaps": `--set networkPolicy=perhaps: networkPolicy: must be true or false, not "perhaps"`,
		"limits.x=1":            "--set limits.x=1: limits.x: unknown limit; there are " + strings.Join(lokiapi.LimitNames(), ", "),
		"storage.size=lots":     `--set storage.size=lots: storage.size: "lots" is not a quantity such as 10Gi`,
	} {
		if _, err := SetValue(DefaultValues(), assignment); err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", assignment, err, want)
		}
	}
}

func TestImageRef(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for ref, want := range map[string]Image{
		"collector:v1":                          {Repository: "collector", Tag: "v1"},
		"localhost:5000/collector":              {Repository: "localhost:5000/collector"},
		"localhost:5000/collector:v1":           {Repository: "localhost:5000/collector", Tag: "v1"},
		"example.org/a/b@" + digest:             {Repository: "example.org/a/b", Digest: digest},
		"example.org:443/a/b:v2@" + digest:      {Repository: "example.org:443/a/b", Tag: "v2", Digest: digest},
		"ghcr.io/logstack-dev/collector:v0.1.0": {Repository: "ghcr.io/logstack-dev/collector", Tag: "v0.1.0"},
	} {
		var got Image
		got.SetRef(ref)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", ref, d)
		}
	}
}

// values.schema.json is published: editors complete and check values files by it.
func TestSchema(t *testing.T) {
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("values.schema.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
	if !strings.Contains(string(DefaultValuesFile), "$schema="+SchemaURL+"\n") {
		t.Error("values.yaml does not name its schema")
	}
}
