package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// metricChecks look at counters of Loki, Alloy, Promtail and our collector.
func metricChecks() []Check {
	needs := []snapshot.Input{snapshot.Server, snapshot.StackMetrics}
	has := func(s *snapshot.Snapshot) bool { return len(s.Metrics()) > 0 }
	return []Check{
		{
			Code: "LS1004", Severity: Warning, Title: "no pushed line is refused",
			Explain: "Loki and our collector count the lines that they refuse by reason: too old, too long, too many at once. Shippers drop what is refused for good and say so in their own log only.",
			Fix:     "raise the limit that the reason names (limits_config), or mend the sender",
			Needs:   needs, Applies: has,
			Run: onMetrics(refusedLines),
		},
		{
			Code: "LS1005", Severity: Error, Title: "no collector drops lines",
			Explain: "Alloy and Promtail count the lines that they could not deliver: after the last retry, or because the store refused them.",
			Fix:     "read the last error in the collector's log: kubectl logs -n NAMESPACE POD | grep final",
			Needs:   needs, Applies: has,
			Run: onMetrics(droppedLines),
		},
		{
			Code: "LS1006", Severity: Warning, Title: "what is read is sent",
			Explain: "Lines read from files and lines sent are compared. A large difference without dropped batches is a stage or a rule that drops lines, or a pipeline that leads nowhere.",
			Fix:     "look for stage.drop, stage.match and drop rules between the source and loki.write",
			Needs:   needs, Applies: has,
			Run: onMetrics(lostBetween),
		},
	}
}

// onMetrics makes a check of a function over the metrics of one Service. One
// that did not answer is a skip.
func onMetrics(f func(*snapshot.Snapshot, *snapshot.Metrics) []Finding) func(*snapshot.Snapshot) []Finding {
	return func(s *snapshot.Snapshot) []Finding {
		var out []Finding
		for _, m := range s.Metrics() {
			if m.Err != nil {
				line, _, _ := strings.Cut(m.Err.Error(), "\n")
				f := Finding{Status: Skip, Ref: s.Ref(m.Service), Detail: line}
				if m.Right != nil {
					f.Right = m.Right.String()
				}
				out = append(out, f)
				continue
			}
			out = append(out, f(s, m)...)
		}
		return out
	}
}

// refusalFixes says what to do about Loki's reasons for refusing a line.
var refusalFixes = map[string]string{
	"rate_limited":                "limits_config.ingestion_rate_mb and ingestion_burst_size_mb",
	"per_stream_rate_limit":       "limits_config.per_stream_rate_limit, or more labels that tell streams apart",
	"stream_limit":                "limits_config.max_global_streams_per_user; better: fewer label values (LS0712)",
	"line_too_long":               "limits_config.max_line_size, or max_line_size_truncate: true",
	"too_far_behind":              "let one sender write a stream, in the order of time; limits_config.unordered_writes: true",
	"greater_than_max_sample_age": "limits_config.reject_old_samples_max_age, or do not send old files (tail_from_end)",
	"too_far_in_future":           "the clock of the sender (LS1101), or limits_config.creation_grace_period",
	"malformed_request":           "the sender: what it pushes is no push request of Loki (protobuf with snappy, or JSON with its Content-Type)",
	"missing_labels":              "the sender: a stream has no labels",
	"invalid_labels":              "the sender: names of labels have letters, digits and _ only",
	"max_label_names_per_series":  "fewer labels, or limits_config.max_label_names_per_series",
	"label_value_too_long":        "shorter label values, or limits_config.max_label_value_length",
}

func refusedLines(s *snapshot.Snapshot, m *snapshot.Metrics) []Finding {
	var out []Finding
	by := m.By("loki_discarded_samples_total", "reason")
	for _, reason := range positive(by) {
		out = append(out, Finding{Status: Warning, Ref: s.Ref(m.Service), Detail: fmt.Sprintf("%s refused %s: %s", plural(int(by[reason]), "line"), sinceText(m.Since()), reason),
			Fix: orElse(refusalFixes[reason], "limits_config: the limit that "+reason+" names"), Explains: []string{"LS1005"}})
	}
	return out
}

// positive are the keys with a value above zero, sorted.
func positive(m map[string]float64) []string {
	var out []string
	for k, v := range m {
		if v > 0 {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func droppedLines(s *snapshot.Snapshot, m *snapshot.Metrics) []Finding {
	var out []Finding
	for _, name := range []string{"loki_write_dropped_entries_total", "promtail_dropped_entries_total"} {
		by := m.By(name, "reason")
		for _, reason := range positive(by) {
			out = append(out, Finding{Status: Error, Ref: s.Ref(m.Service), Detail: fmt.Sprintf("%s dropped %s: %s", plural(int(by[reason]), "line"), sinceText(m.Since()), orElse(reason, "no reason is given")),
				Fix: fmt.Sprintf("kubectl logs -n %s -l %s --tail=-1 | grep 'final error'", m.Service.Namespace, selectorText(m.Service.Spec.Selector)), Explains: []string{"LS1006"}})
		}
	}
	return out
}

// fewest lines from which on read and sent are compared.
const fewest = 1000

func lostBetween(s *snapshot.Snapshot, m *snapshot.Metrics) []Finding {
	read, ok := m.Sum("loki_source_file_read_lines_total")
	sent, sends := m.Sum("loki_write_sent_entries_total")
	if !ok || !sends || read < fewest || sent >= read/2 {
		return nil
	}
	return []Finding{{Status: Warning, Ref: s.Ref(m.Service), Detail: fmt.Sprintf("%.0f lines were read from files %s, %.0f were sent", read, sinceText(m.Since()), sent),
		Fix: "look for stage.drop, stage.match and drop rules between loki.source.file and loki.write", Explains: []string{"LS1003"}}}
}

// sinceText says when counters began.
func sinceText(t time.Time) string {
	if t.IsZero() {
		return "since its start"
	}
	return "since " + t.Format(time.RFC3339)
}
