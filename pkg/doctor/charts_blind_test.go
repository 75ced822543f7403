package doctor

import (
	"strings"
	"testing"
)

// TestUnknownCharts: no check of values passes for a chart or a version of
// which nothing is known, and the skip names what is.
func TestUnknownCharts(t *testing.T) {
	const values = "deploymentMode: SingleBinary\nloki: {auth_enabled: false}\n"
	for name, tc := range map[string]struct {
		chart, version string
		code, words    string // "": none of LS0601 to LS0614 answers
	}{
		"unknown chart":   {"foo", "1.0.0", "", ""},
		"chart, no keys":  {"vector", "0.30.0", "LS0603", "loki, "},
		"newer":           {"loki", "999.0.0", "LS0601", "newer than 18."},
		"older":           {"loki", "1.0.0", "LS0602", "older than 3.0.0"},
		"no version":      {"loki", "nonsense", "LS0604", "nonsense"},
		"facts, no keys":  {"k8s-monitoring", "4.0.0", "LS0603", "keys of chart k8s-monitoring"},
		"range of others": {"loki", ">=900", "LS0614", ">=900"},
	} {
		t.Run(name, func(t *testing.T) {
			r := examineFiles(t, header{chart: tc.chart, version: tc.version}, map[string]string{"values.yaml": values})
			found := tc.code == ""
			for i := range r.Findings {
				f := &r.Findings[i]
				if strings.HasPrefix(f.Code, "LS06") && f.Status == OK && (f.Code == tc.code || tc.code == "") {
					t.Errorf("%s passed", f.Code)
				}
				found = found || f.Code == tc.code && f.Status == Skip && strings.Contains(f.Detail, tc.words)
			}
			if !found {
				t.Errorf("no skip of %s with %q: %+v", tc.code, tc.words, r.Findings)
			}
		})
	}
	if r := examineFiles(t, header{chart: "loki", version: "18.11.0"}, map[string]string{"values.yaml": values}); byCode(r, "LS0603", OK) != 1 || byCode(r, "LS0603", Skip) != 0 {
		t.Error("a known version was not judged")
	}
}

// TestIncompleteValues: what a release takes from elsewhere and is not at hand
// keeps every check of values from passing; checks of the release itself go on.
func TestIncompleteValues(t *testing.T) {
	r := examineFiles(t, header{}, map[string]string{"hr.yaml": `apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: loki, namespace: monitoring}
spec:
  chart: {spec: {chart: loki, version: 6.55.0, sourceRef: {kind: HelmRepository, name: grafana}}}
  valuesFrom: [{kind: Secret, name: creds}]
  values: {deploymentMode: SingleBinary}
`})
	for _, code := range []string{"LS0601", "LS0602", "LS0603", "LS0604", "LS0606", "LS0607", "LS0613", "LS0614", "LS0904", "LS0905", "LS0907", "LS1204"} {
		found := false
		for i := range r.Findings {
			f := &r.Findings[i]
			found = found || f.Code == code && f.Status == Skip && strings.Contains(f.Detail, "Secret/creds[values.yaml] could not be read")
		}
		if !found || byCode(r, code, OK) > 0 {
			t.Errorf("%s: no skip, or it passed", code)
		}
	}
	if byCode(r, "LS0626", OK) != 1 {
		t.Error("LS0626 reads no values")
	}
}

func TestCheckChart(t *testing.T) {
	for _, name := range []string{"loki", "promtail", "loki-stack", "alloy", "grafana", "vector", "fluent-bit", "k8s-monitoring"} {
		if err := CheckChart(name); err != nil {
			t.Error(err)
		}
	}
	if err := CheckChart("loky"); err == nil || !strings.Contains(err.Error(), "did you mean loki?") {
		t.Error(err)
	}
	if err := CheckChart("foo"); err == nil || !strings.Contains(err.Error(), "promtail") {
		t.Error(err)
	}
}
