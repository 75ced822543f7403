package lokiapi

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestDetectLevel(t *testing.T) {
	for line, want := range map[string]string{
		``:                                                   "unknown",
		`   `:                                                "unknown",
		`hello world`:                                        "unknown",
		`{"level":"info","msg":"error"}`:                     "info",
		`{"msg":"x","lvl":"DBG"}`:                            "debug",
		`{"a":{"severity":"WARNING"}}`:                       "warn",
		`{"a":{"b":{"level":"warn"}}}`:                       "warn", // too deep for the field, but a word
		`{"a":{"b":{"level":"wrn"}}}`:                        "unknown",
		`{"log.level": "error"}`:                             "error",
		`{"level":30,"msg":"hi"}`:                            "unknown",
		`{"msg":"say \"level\":\"fatal\" "}`:                 "unknown",
		`{"msg":"\\","level":"trace"}`:                       "trace",
		`{"level":"inf`:                                      "unknown", // cut
		`level=info msg="an error"`:                          "info",
		`ts=1 lvl="warn" x=y`:                                "warn",
		`msg="level=debug is off" severity=error`:            "error",
		`time=x level=notice msg=err`:                        "error", // unknown value: words
		`I1122 09:16:49.123456       1 main.go:10] error`:    "info",
		`E1122 09:16:49.123456       1 main.go:10] x`:        "error",
		`Error opening file`:                                 "error",
		`2026-11-22 09:00:00 WARN  [main] Debug is on`:       "warn",
		`errors happened, terror, information`:               "unknown",
		`[critical] out of paper`:                            "critical",
		`GET /info 200`:                                      "unknown",
		`ünïerr err`:                                         "error",
		strings.Repeat("x ", 2000) + "error":                 "error",
		`10.0.0.1 - - [22/Nov/2026] "GET /a?b=c HTTP/1.1" 2`: "unknown",
		`a="unterminated level=error`:                        "error",
		"\tlevel=fatal":                                      "fatal",
		`{"severity_text":"Information"}`:                    "info",
		`{"level" : "err" }`:                                 "error",
		`{}error`:                                            "unknown",
		`{"a":["level","info"]}`:                             "info",
		`=`:                                                  "unknown",
		`level=`:                                             "unknown",
		`level="`:                                            "unknown",
		`{"level":"`:                                         "unknown",
		`{"level":`:                                          "unknown",
		`{"level`:                                            "unknown",
		`{`:                                                  "unknown",
		`I1122`:                                              "unknown",
		`X1122 09:16:49.123456       1 main.go:10] some fatal`: "fatal",
	} {
		if got := DetectLevel(line).String(); got != want {
			t.Errorf("DetectLevel(%s) = %s, want %s", line, got, want)
		}
	}
}

func TestAddLevels(t *testing.T) {
	meta := labels.FromStrings
	for _, tt := range []struct {
		name, stream, line string
		metadata, want     labels.Labels
	}{
		{"from the line", `{app="a"}`, "level=warn x", labels.EmptyLabels(), meta("detected_level", "warn")},
		{"from a stream label", `{level="ERR"}`, "info", labels.EmptyLabels(), meta("detected_level", "error")},
		{"a stream label that is no known level", `{level="notice"}`, "info", labels.EmptyLabels(), meta("detected_level", "notice")},
		{"the stream has it", `{detected_level="x"}`, "info", labels.EmptyLabels(), labels.EmptyLabels()},
		{"from metadata", `{app="a"}`, "info", meta("severity", "Warning", "z", "1"), meta("detected_level", "warn", "severity", "Warning", "z", "1")},
		{"from OTLP's number", `{app="a"}`, "info", meta("severity_number", "17"), meta("detected_level", "error", "severity_number", "17")},
		{"a number that means nothing", `{app="a"}`, "info", meta("severity_number", "0"), meta("detected_level", "unknown", "severity_number", "0")},
		{"present", `{app="a"}`, "info", meta("detected_level", "fatal"), meta("detected_level", "fatal")},
		{"present, to be normalised", `{app="a"}`, "info", meta("detected_level", "WARNING"), meta("detected_level", "warn")},
		{"other metadata", `{app="a"}`, "oh, error", meta("trace_id", "1"), meta("detected_level", "error", "trace_id", "1")},
	} {
		stream, err := ParseLabels(tt.stream)
		if err != nil {
			t.Fatal(err)
		}
		b := model.Batch{Streams: []model.StreamEntries{{Labels: stream, Entries: []model.Entry{{Line: tt.line, Metadata: tt.metadata}}}}}
		AddLevels(&b)
		if got := b.Streams[0].Entries[0].Metadata; !labels.Equal(got, tt.want) {
			t.Errorf("%s: metadata is %s, want %s", tt.name, got, tt.want)
		}
	}
}

func BenchmarkDetectLevel(b *testing.B) {
	for name, line := range map[string]string{
		"json":   `{"time":"2026-11-22T09:16:49.123456Z","caller":"main.go:10","msg":"request served","status":200,"level":"info"}`,
		"logfmt": `ts=2026-11-22T09:16:49.123456Z caller=main.go:10 msg="request served" status=200 level=info duration=12ms`,
		"access": `10.0.0.1 - - [22/Nov/2026:09:16:49 +0000] "GET /api/v1/things/12345 HTTP/1.1" 200 5123 "-" "curl/8.5.0"`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			start := cpuTime()
			for b.Loop() {
				DetectLevel(line)
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/line")
		})
	}
}

// TestLevelsOfPrograms checks testdata/levels.txt.
func TestLevelsOfPrograms(t *testing.T) {
	text, err := os.ReadFile("testdata/levels.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for n, row := range strings.Split(string(text), "\n") {
		if row == "" || row[0] == '#' {
			continue
		}
		if len(row) < 10 {
			t.Fatalf("row %d is too short", n+1)
		}
		rows++
		want, line := strings.TrimSpace(row[:10]), row[10:]
		if got := DetectLevel(line).String(); got != want {
			t.Errorf("row %d: %s is %s, want %s", n+1, line, got, want)
		}
	}
	if rows < 150 {
		t.Errorf("%d rows only", rows)
	}
}

// TestLevelFields looks at other fields than Loki's.
func TestLevelFields(t *testing.T) {
	v := NewLevels([]string{"sev", "", "a_rather_long_name_of_a_field"})
	for line, want := range map[string]string{
		`{"sev":"warn","level":"error"}`:          "warn",
		`{"level":"wrn"}`:                         "unknown",
		`SEV=err`:                                 "error",
		`A_RATHER_LONG_NAME_OF_A_FIELD=fatal`:     "fatal",
		`{"a_rather_long_name_of_a_field":"trc"}`: "trace",
		`level=inf`:                               "unknown",
	} {
		if got := v.Detect(line).String(); got != want {
			t.Errorf("%s is %s, want %s", line, got, want)
		}
	}
	b := model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("level", "error"), Entries: []model.Entry{
		{Line: "x", Metadata: labels.FromStrings("sev", "INF")}, {Line: "sev=dbg"},
	}}}}
	v.Add(&b)
	for i, want := range []string{"info", "debug"} {
		if got := b.Streams[0].Entries[i].Metadata.Get(LevelName); got != want {
			t.Errorf("entry %d is %s, want %s", i, got, want)
		}
	}
}

// TestSeverityNumbers follows OpenTelemetry's scale.
func TestSeverityNumbers(t *testing.T) {
	for n, want := range map[string]string{
		"0": "unknown", "1": "trace", "4": "trace", "5": "debug", "8": "debug", "9": "info", "12": "info", "13": "warn", "16": "warn",
		"17": "error", "20": "error", "21": "fatal", "24": "fatal", "25": "unknown", "99999999999999999999": "unknown", "-1": "info", "x": "info",
	} {
		if got := severityLevel(n).String(); got != want {
			t.Errorf("%s is %s, want %s", n, got, want)
		}
	}
}
