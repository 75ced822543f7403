package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// collectorView is what the table shows of the collector's own status. What a
// newer or older collector does not say is left out.
type collectorView struct {
	Version string
	Podlogs struct {
		Synced   bool
		Targets  map[string]int
		Problems []string
	}
	Events *struct {
		Owner    bool
		Synced   bool
		Contact  *time.Time
		Problems []string
	}
	Operator *lokiapi.OperatorStatus
	Store    struct {
		Entries, RawBytes, BlockBytes, DiskBytes int64
		Oldest, Newest                           *time.Time
		DiskFull                                 bool
		Damaged                                  int64
		Errors                                   []string
	}
}

// statusRows gathers rows of the table.
type statusRows struct {
	t    output.Terminal
	now  time.Time
	rows [][]string
}

func (r *statusRows) add(name, value string) {
	if value != "" {
		r.rows = append(r.rows, []string{name, value})
	}
}

// collectorRows shows one collector's status, and troubled containers by reason.
func collectorRows(raw json.RawMessage, troubled []lokiapi.Target, t output.Terminal, now time.Time) [][]string {
	var v collectorView
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	r := &statusRows{t: t, now: now}
	r.add("version", v.Version)
	r.add("containers", statesText(v.Podlogs.Targets))
	r.reasons(troubled)
	r.operator(v.Operator)
	if e := v.Events; e != nil {
		switch {
		case !e.Owner:
			r.add("events", "another replica collects them")
		case e.Contact != nil:
			r.add("events", "all up to "+agoText(now, *e.Contact))
		case !e.Synced:
			r.add("events", "not seen yet")
		}
		v.Podlogs.Problems = append(v.Podlogs.Problems, e.Problems...)
	}
	if v.Operator != nil {
		v.Podlogs.Problems = append(v.Podlogs.Problems, v.Operator.Problems...)
	}
	for _, p := range v.Podlogs.Problems {
		r.add("problem", t.Paint(output.Yellow, p))
	}
	s := v.Store
	if s.Entries > 0 {
		r.add("stored", fmt.Sprintf("%s lines, %s on disk", humanize.Comma(s.Entries), ibytes(s.DiskBytes)))
	}
	if s.Oldest != nil {
		r.add("oldest", agoText(now, *s.Oldest))
	}
	if s.Newest != nil {
		r.add("newest", agoText(now, *s.Newest))
	}
	if s.DiskFull {
		r.add("problem", t.Paint(output.Red, "the disk is full: nothing new is stored, queries work"))
	}
	if s.Damaged > 0 {
		r.add("problem", t.Paint(output.Red, fmt.Sprintf("%d chunk blocks are damaged: their lines are missing from answers", s.Damaged)))
	}
	for _, e := range s.Errors {
		r.add("last error", e)
	}
	return r.rows
}

// agoText is humanize.Time with a clock of its own.
func agoText(now, then time.Time) string { return humanize.RelTime(then, now, "ago", "from now") }

func ibytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// statesText sums containers up: "120: 80 following, 40 polling".
func statesText(states map[string]int) string {
	total := 0
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		total += states[state]
		parts = append(parts, fmt.Sprintf("%d %s", states[state], strings.ReplaceAll(state, "_", " ")))
	}
	if total == 0 {
		return ""
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}

// maxReasons is how many reasons a state shows.
const maxReasons = 3

// reasons shows why containers wait or are retried, the most frequent first.
func (r *statusRows) reasons(targets []lokiapi.Target) {
	type kind struct{ state, reason string }
	counts := make(map[kind]int)
	for _, t := range targets {
		if t.Reason != "" {
			counts[kind{t.State, t.Reason}]++
		}
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(counts[b], counts[a]), cmp.Compare(a.reason, b.reason))
	})
	shown := make(map[string]int)
	for _, k := range kinds {
		if shown[k.state]++; shown[k.state] > maxReasons {
			continue
		}
		color := output.Yellow
		if k.state == "waiting" {
			color = output.Faint
		}
		r.add(k.state, r.t.Paint(color, fmt.Sprintf("%d: %s", counts[k], k.reason)))
	}
}

// operator shows lag, gaps, requests, memory and disk.
func (r *statusRows) operator(o *lokiapi.OperatorStatus) {
	if o == nil {
		return
	}
	r.add("lag", lagText(o.Lag))
	r.add("gaps", r.gapsText(o.Gaps))
	r.add("requests", fmt.Sprintf("%.1f/s to the API server", o.Requests))
	memory := fmt.Sprintf("%s of %s", ibytes(o.Memory.Used), ibytes(o.Memory.Limit))
	if o.Memory.Used > o.Memory.Limit*9/10 {
		memory = r.t.Paint(output.Yellow, memory)
	}
	r.add("memory", memory)
	r.add("disk", r.diskText(o.Disk))
}

func lagText(l *lokiapi.LagStatus) string {
	if l == nil {
		return ""
	}
	window := (time.Duration(l.Window) * time.Second).String()
	window = strings.TrimSuffix(window, "0s")
	if l.Lines == 0 {
		return "no new lines in " + window
	}
	return fmt.Sprintf("p50 %s, p99 %s (%s lines in %s)", seconds(l.P50), seconds(l.P99), humanize.Comma(l.Lines), window)
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// gapsText sums gaps up by reason, with the namespaces that have most of them.
func (r *statusRows) gapsText(gaps []lokiapi.GapCount) string {
	if len(gaps) == 0 {
		return "none in the last day"
	}
	total := int64(0)
	byReason := make(map[string]int64)
	namespaces := make(map[string][]string)
	for _, g := range gaps { // most first
		total += g.Count
		byReason[g.Reason] += g.Count
		if n := namespaces[g.Reason]; g.Namespace != "" && len(n) <= maxReasons {
			namespaces[g.Reason] = append(n, g.Namespace)
		}
	}
	var parts []string
	for _, reason := range slices.SortedFunc(maps.Keys(byReason), func(a, b string) int {
		return cmp.Or(cmp.Compare(byReason[b], byReason[a]), cmp.Compare(a, b))
	}) {
		part := fmt.Sprintf("%d %s", byReason[reason], reason)
		if n := namespaces[reason]; len(n) > maxReasons {
			part += " (" + strings.Join(n[:maxReasons], ", ") + ", …)"
		} else if len(n) > 0 {
			part += " (" + strings.Join(n, ", ") + ")"
		}
		parts = append(parts, part)
	}
	return r.t.Paint(output.Yellow, fmt.Sprintf("%d in the last day: %s", total, strings.Join(parts, ", ")))
}

func (r *statusRows) diskText(d lokiapi.DiskStatus) string {
	text := ibytes(d.Used)
	if d.Limit > 0 {
		text += " of " + ibytes(d.Limit)
	}
	if d.PerDay > 0 {
		text += fmt.Sprintf(", %s a day", ibytes(d.PerDay))
	}
	switch {
	case d.DaysLeft == nil && d.PerDay > 0 && d.Limit > 0:
		text += ", will not fill"
	case d.DaysLeft != nil && *d.DaysLeft < 0.5:
		text = r.t.Paint(output.Yellow, text+", full: the oldest go")
	case d.DaysLeft != nil:
		text += fmt.Sprintf(", %.0f days left", *d.DaysLeft)
	}
	return text
}

// replicaTable compares replicas.
func replicaTable(replicas []lokiapi.Replica, t output.Terminal) (header []string, rows [][]string) {
	header = []string{"REPLICA", "CONTAINERS", "FOLLOWING", "POLLING", "RETRYING", "LAG P99", "GAPS", "REQ/S", "MEMORY", "DISK", "DAYS LEFT", "EVENTS"}
	for _, m := range replicas {
		row := make([]string, len(header))
		row[0] = m.Name
		var v collectorView
		switch {
		case m.Error != "":
			row[1] = t.Paint(output.Red, "does not answer: "+m.Error)
		case json.Unmarshal(m.Status, &v) != nil:
			row[1] = t.Paint(output.Red, "its answer cannot be read")
		default:
			fillReplica(row, v)
		}
		rows = append(rows, row)
	}
	return header, rows
}

func fillReplica(row []string, v collectorView) {
	total := 0
	for _, n := range v.Podlogs.Targets {
		total += n
	}
	count := func(state string) string { return fmt.Sprint(v.Podlogs.Targets[state]) }
	row[1], row[2], row[3], row[4] = fmt.Sprint(total), count("following"), count("polling"), count("retrying")
	if o := v.Operator; o != nil {
		row[5] = "-"
		if o.Lag != nil && o.Lag.Lines > 0 {
			row[5] = seconds(o.Lag.P99)
		}
		gaps := int64(0)
		for _, g := range o.Gaps {
			gaps += g.Count
		}
		row[6], row[7] = fmt.Sprint(gaps), fmt.Sprintf("%.1f", o.Requests)
		row[8] = ibytes(o.Memory.Used)
		row[9], row[10] = ibytes(o.Disk.Used), "-"
		if o.Disk.DaysLeft != nil {
			row[10] = fmt.Sprintf("%.0f", *o.Disk.DaysLeft)
		}
	}
	if v.Events != nil && v.Events.Owner {
		row[11] = "owner"
	}
}

// targetTable lists containers.
func targetTable(list lokiapi.Targets, t output.Terminal, now time.Time) (header []string, rows [][]string) {
	header = []string{"NAMESPACE", "POD", "CONTAINER", "NODE", "STATE", "LAST LINE", "REASON"}
	several := slices.ContainsFunc(list.Targets, func(t lokiapi.Target) bool { return t.Replica != "" })
	if several {
		header = append(header, "REPLICA")
	}
	for _, x := range list.Targets {
		last := "-"
		if x.LastLine != nil {
			last = agoText(now, *x.LastLine)
		}
		state := strings.ReplaceAll(x.State, "_", " ")
		if x.State == "retrying" {
			state = t.Paint(output.Yellow, state)
		}
		row := []string{x.Namespace, x.Pod, x.Container, x.Node, state, last, x.Reason}
		if several {
			row = append(row, x.Replica)
		}
		rows = append(rows, row)
	}
	return header, rows
}
