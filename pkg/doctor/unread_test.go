package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filesIn writes files into a directory of their own.
func filesIn(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// examineFiles runs every check on files alone.
func examineFiles(t *testing.T, h header, files map[string]string) *Report {
	t.Helper()
	return Run(load(t, h.request(filesIn(t, files))), Checks(), RunOptions{FailOn: Error})
}

// byCode counts the outcomes of a code.
func byCode(r *Report, code string, status Status) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Code == code && r.Findings[i].Status == status {
			n++
		}
	}
	return n
}

// TestUnreadConfiguration: what cannot be parsed has not passed, in whatever
// product it is written; a good file beside it does not change that.
func TestUnreadConfiguration(t *testing.T) {
	const good = "loki.source.api \"in\" {\n  http { listen_port = 3500 }\n  forward_to = [loki.write.d.receiver]\n}\nloki.write \"d\" {\n  endpoint { url = \"http://loki.example.com:3100/loki/api/v1/push\" }\n}\n"
	for name, files := range map[string]map[string]string{
		"alloy":        {"y.alloy": "loki.write \"d\" {\n  endpoint { url = \"x\"\n"},
		"random bytes": {"y.alloy": "\x00\x9b\xff{{ \x1b[2J"},
		"twice":        {"y.alloy": good + "loki.write \"d\" { }\n"},
		"beside good":  {"a.alloy": good, "y.alloy": "loki.write \"d\" {\n"},
		"fluent bit":   {"fluent-bit.conf": "[INPUT\n  Name tail\n[OUTPUT]\n  Name loki\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := examineFiles(t, header{}, files)
			if byCode(r, "LS0701", Error) != 1 {
				t.Errorf("no syntax error: %+v", r.Findings)
			}
			for i := range r.Findings {
				f := &r.Findings[i]
				if strings.HasPrefix(f.Code, "LS07") && f.Status == OK {
					t.Errorf("%s passed: %s", f.Code, f.Title)
				}
			}
			if byCode(r, "LS0713", Skip) != 1 || r.ExitCode != ExitFindings {
				t.Errorf("LS0713 is no skip; exit code %d", r.ExitCode)
			}
		})
	}
}

// TestTemplatedConfiguration: what Helm has to write first is not judged.
func TestTemplatedConfiguration(t *testing.T) {
	h := header{chart: "alloy", version: "1.6.0"}
	r := examineFiles(t, h, map[string]string{"values.yaml": "alloy:\n  configMap:\n    content: |\n      {{ include \"x\" . }}\n      loki.write \"d\" {\n"})
	if byCode(r, "LS0701", OK) > 0 || byCode(r, "LS0701", Skip) != 1 {
		t.Errorf("LS0701: %+v", r.Findings)
	}
}

// TestOtherProducts: Promtail's way of lines is not examined and does not pass;
// a password in a URL is found, with the product's own remedy.
func TestOtherProducts(t *testing.T) {
	r := examineFiles(t, header{}, map[string]string{
		"svc.yaml":      "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\n",
		"promtail.yaml": "clients: [{url: 'http://u:topsecret@loki:3100/push'}]\npositions: {filename: /p}\nscrape_configs: []\n",
	})
	found := false
	for i := range r.Findings {
		f := &r.Findings[i]
		if (f.Code == "LS0702" || f.Code == "LS0703") && f.Status != None {
			t.Errorf("%s: %s", f.Code, f.Status)
		}
		found = found || f.Code == "LS0713" && f.Status == Warning && strings.Contains(f.Fix, "password_file")
		if strings.Contains(f.Detail+f.Fix+f.Patch, "topsecret") {
			t.Errorf("%s shows it", f.Code)
		}
	}
	if !found {
		t.Errorf("the password was not found: %+v", r.Findings)
	}
}
