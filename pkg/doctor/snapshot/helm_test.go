package snapshot

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// helmGetValues is what `helm get values` (Helm 3.18) prints of the values of
// TestReleaseLines.
const helmGetValues = `USER-SUPPLIED VALUES:
alloy:
  configMap:
    content: |
      loki.write "d" {
        endpoint { url = "http://loki" }
      }
loki:
  auth_enabled: false
monitoring:
  lokiCanary:
    enabled: false
zones:
- a
- b: 1
`

// release stores values as Helm does.
func release(t *testing.T, values map[string]any) []byte {
	t.Helper()
	stored, err := EncodeRelease(map[string]any{"name": "loki", "namespace": "logs", "version": 3, "config": values,
		"chart": map[string]any{"metadata": map[string]any{"name": "loki", "version": "6.55.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestReleaseLines: findings in values that Helm keeps have the line of what
// helm get values prints, and say so; texts inside of them as well.
func TestReleaseLines(t *testing.T) {
	s := New(now, "logstack", "logstack")
	s.Add(Secrets, &corev1.Secret{Type: "helm.sh/release.v1", ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "sh.helm.release.v1.loki.v3"}, Data: map[string][]byte{"release": release(t, map[string]any{
		"monitoring": map[string]any{"lokiCanary": map[string]any{"enabled": false}}, "loki": map[string]any{"auth_enabled": false}, "zones": []any{"a", map[string]any{"b": 1}},
		"alloy": map[string]any{"configMap": map[string]any{"content": "loki.write \"d\" {\n  endpoint { url = \"http://loki\" }\n}\n"}},
	})}})
	s.Finish()
	if len(s.Releases()) != 1 {
		t.Fatal("no release")
	}
	r := s.Releases()[0]
	if got := strings.Join(r.lines, "\n"); got != helmGetValues {
		t.Errorf("%s", got)
	}
	for want, path := range map[string][]string{
		"release/logs/loki monitoring.lokiCanary (line 11 of helm get values loki -n flux-system)": {"monitoring", "lokiCanary"},
		"release/logs/loki zones.1.b (line 15 of helm get values loki -n flux-system)":             {"zones", "1", "b"},
		"release/logs/loki loki.authEnabled (line 8 of helm get values loki -n flux-system)":       {"loki", "authEnabled"},
		"release/logs/loki chunksCache": {"chunksCache"},
		"release/logs/loki":             nil,
	} {
		if got := r.Ref(path...).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	text, _ := r.Text("alloy", "configMap", "content")
	if got := text.Offset(strings.Index(text.Content, "url")); got.Line != 6 || got.Column != 20 {
		t.Errorf("the URL is at %d:%d", got.Line, got.Column)
	}
}

// TestReleaseInFile: a Secret in a file has the values packed: the place is the
// Secret's.
func TestReleaseInFile(t *testing.T) {
	stored := release(t, map[string]any{"monitoring": map[string]any{"lokiCanary": 1}})
	s, err := offline(t, FileOptions{}, write(t, "s.yaml", "\napiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\nmetadata: {name: sh.helm.release.v1.loki.v3, namespace: logs}\nstringData: {release: "+string(stored)+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Releases()[0].Ref("monitoring", "lokiCanary"); got.Line != 2 || got.In != "" {
		t.Errorf("%+v", got)
	}
}
