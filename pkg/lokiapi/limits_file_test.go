package lokiapi

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseLimits(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		change     func(*Limits)
	}{
		{"nothing", "", func(*Limits) {}},
		{"an empty object", "{}", func(*Limits) {}},
		{"sizes", "max_line_size: 1MB\nmax_structured_metadata_size: 1000\n", func(l *Limits) { l.MaxLine, l.MaxMetadataBytes = 1<<20, 1000 }},
		{"binary sizes", "max_line_size: 2KiB\n", func(l *Limits) { l.MaxLine = 2048 }},
		{"truncation", "max_line_size_truncate: true\nmax_line_size_truncate_identifier: '…'\n", func(l *Limits) { l.TruncateLines, l.TruncateMarker = true, "…" }},
		{"labels", "max_label_names_per_series: 30\nmax_label_name_length: 100\nmax_label_value_length: 200\nmax_structured_metadata_entries_count: 5", func(l *Limits) {
			l.MaxLabelNames, l.MaxLabelName, l.MaxLabelValue, l.MaxMetadataPairs = 30, 100, 200, 5
		}},
		{"old entries", "reject_old_samples: true", func(l *Limits) { l.MaxAge = 7 * 24 * time.Hour }},
		{"old entries after a while", "reject_old_samples_max_age: 1d", func(l *Limits) { l.MaxAge = 24 * time.Hour }},
		{"old entries welcome", "reject_old_samples: false\nreject_old_samples_max_age: 1d", func(*Limits) {}},
		{"the future", "creation_grace_period: 1h", func(l *Limits) { l.MaxFuture = time.Hour }},
		{"no future", "creation_grace_period: 0s", func(l *Limits) { l.MaxFuture = 1 }},
		{"no discovery", "discover_service_name: []\ndiscover_log_levels: false", func(l *Limits) { l.ServiceNameLabels, l.NoLevels = []string{}, true }},
		{"discovery", "discover_service_name: [a, b]\nlog_level_fields: [sev]", func(l *Limits) {
			l.ServiceNameLabels, l.LevelFields = []string{"a", "b"}, []string{"sev"}
		}},
		{"OTLP", "otlp_config:\n  severity_text_as_label: true\n  resource_attributes:\n    ignore_defaults: true\n    attributes_config: [{action: index_label, attributes: [a.b]}]\n  log_attributes: [{action: drop, regex: x.*}]\n", func(l *Limits) {
			l.OTLP = OTLPConfig{
				SeverityTextAsLabel: true,
				ResourceAttributes:  OTLPResourceConfig{IgnoreDefaults: true, Rules: []OTLPRule{{Action: OTLPLabel, Attributes: []string{"a.b"}}}},
				LogAttributes:       []OTLPRule{{Action: OTLPDrop, Regex: "x.*"}},
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, want := DefaultLimits(), DefaultLimits()
			tt.change(&want)
			if err := ParseLimits([]byte(tt.text), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseLimitsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"max_line_sice: 1":                   `unknown field "max_line_sice": known keys are max_line_size,`,
		"max_line_size: 0":                   "max_line_size is 0: it must be above 0",
		"max_line_size: 1.5":                 "is not a whole number of bytes",
		"max_line_size: large":               `"large" is not a size`,
		"max_line_size: [1]":                 "[1] is not a size",
		"max_line_size: 2GB":                 `"2GB" is not a size up to 1GB`,
		"max_label_names_per_series: -1":     "max_label_names_per_series is -1: it must be above 0",
		"creation_grace_period: soon":        `"soon" is not a duration`,
		"creation_grace_period: 10":          "10 is not a duration",
		"discover_service_name: app":         "discover_service_name",
		"- a":                                "cannot unmarshal",
		"max_line_size: 1\nmax_line_size: 2": "already set",
		"max_line_size: 3\nmax_line_size_truncate: true\nmax_line_size_truncate_identifier: '...'": "leaves no room",
		"otlp_config: {log_attributes: [{action: keep, regex: x}]}":                                `otlp_config: log_attributes[0]: unknown action "keep"`,
		"max_label_name_length: 0\nmax_label_value_length: 0":                                      "max_label_name_length is 0: it must be above 0\nmax_label_value_length is 0",
	} {
		l := DefaultLimits()
		if err := ParseLimits([]byte(text), &l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

func TestTruncateLines(t *testing.T) {
	d := testDecoder(func(l *Limits) { l.MaxLine, l.TruncateLines, l.TruncateMarker = 8, true, "..." })
	for line, want := range map[string]string{
		"12345678": "12345678", "123456789": "12345...", "1234é6789": "1234...", "1234日本": "1234...", "é\xff\xff\xff\xff\xff\xff\xff": "é\xff\xff\xff...",
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80": "\x80\x80...",
	} {
		p := d.start()
		if err := p.add(&streamInfo{}, testNow.UnixNano(), line, ""); err != nil || len(p.entries) != 1 || p.entries[0].Line != want {
			t.Errorf("%q became %v, %v; want %q", line, p.entries, err, want)
		}
		if cut := line != want; cut != (p.Truncated == 1) {
			t.Errorf("%q: %d lines are counted", line, p.Truncated)
		}
	}
}
