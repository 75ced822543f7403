package doctor

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	commonmodel "github.com/prometheus/common/model"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// roomChecks look at the store of our collector.
func roomChecks() []Check {
	asked := func(s *snapshot.Snapshot) bool { return s.Flow() != nil }
	needs := []snapshot.Input{snapshot.Server, snapshot.Flow}
	uses := []snapshot.Input{snapshot.StatefulSets, snapshot.Claims}
	return []Check{
		{
			Code: "LS0902", Severity: Error, Title: "the store has room",
			Explain: "With a full volume nothing is stored any more until old blocks are deleted; lines that the node still has are read later, others are lost. Our collector says what it stores a day and for how many days there is room; of other stores (Loki), the kubelet is asked how full their volumes are.",
			Fix:     "kubectl logstack install --storage-size 20Gi, or a shorter --retention",
			Needs:   []snapshot.Input{snapshot.Server}, Uses: append([]snapshot.Input{snapshot.Flow, snapshot.Volumes}, uses...),
			Applies: func(s *snapshot.Snapshot) bool {
				return asked(s) || len(s.Volumes()) > 0 || unseen(s, snapshot.Flow) != nil || unseen(s, snapshot.Volumes) != nil
			},
			Run: func(s *snapshot.Snapshot) []Finding { return append(checkRoom(s), otherRoom(s)...) },
		},
		{
			Code: "LS0903", Severity: Warning, Title: "there is room for the whole retention",
			Explain: "What is stored a day (the mean over all days that are stored) times the retention, and a fifth more, has to fit into the limit of the collector (--max-disk) and into its volume. When it does not, the oldest lines are removed before their time.",
			Fix:     "a larger volume (kubectl logstack install --storage-size), or a retention that fits",
			Needs:   needs, Uses: uses, Applies: asked, Run: checkRetentionFits,
		},
	}
}

// room is what the store has and needs, in bytes; 0 is unknown or without limit.
type room struct {
	used, perDay float64
	days         float64 // that the stored lines span
	retention    time.Duration
	maxDisk      float64
	volume       float64
}

// collectorFlags are what --retention and --max-disk are when the manifest does
// not set them (cmd/collector).
var collectorFlags = map[string]string{"retention": "7d", "max-disk": "10GiB"}

// roomOf measures our store.
func roomOf(s *snapshot.Snapshot) room {
	f := s.Flow()
	r := room{used: float64(f.DiskBytes)}
	if !f.Oldest.IsZero() {
		r.days = s.Taken.Sub(f.Oldest).Hours() / 24
	}
	if r.days >= 1 {
		r.perDay = r.used / r.days
	}
	set := ours(s)
	if set == nil {
		return r
	}
	flag := func(name string) string {
		for _, c := range set.Spec.Template.Spec.Containers {
			for _, a := range c.Args {
				if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
					return v
				}
			}
			for _, e := range c.Env {
				if e.Name == "LOGSTACK_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")) {
					return e.Value
				}
			}
		}
		return collectorFlags[name]
	}
	if d, err := commonmodel.ParseDuration(flag("retention")); err == nil {
		r.retention = time.Duration(d)
	}
	if n, err := humanize.ParseBytes(flag("max-disk")); err == nil {
		r.maxDisk = float64(n)
	}
	for _, pvc := range s.Claims() {
		if pvc.Namespace != set.Namespace || !strings.Contains(pvc.Name, "-"+set.Name+"-") {
			continue
		}
		size := pvc.Status.Capacity.Storage()
		if size.IsZero() {
			size = pvc.Spec.Resources.Requests.Storage()
		}
		if v := size.AsApproximateFloat64(); v > 0 && (r.volume == 0 || v < r.volume) {
			r.volume = v
		}
	}
	return r
}

// limit is what the store may fill: the smaller of the two, 0 without any.
func (r room) limit() float64 {
	if r.maxDisk == 0 || r.volume == 0 {
		return cmp.Or(r.maxDisk, r.volume)
	}
	return min(r.maxDisk, r.volume)
}

// Shares of the volume from which on it is nearly full, and as good as full.
const (
	nearlyFull = 0.80
	asGoodFull = 0.95
)

// unseen says why there is an input that could not be looked at; nil when it
// was, or when there is nothing of the kind.
func unseen(s *snapshot.Snapshot, in snapshot.Input) *snapshot.Missing {
	if m := s.Missing(in); m != nil && !m.Offline && !m.Absent {
		return m
	}
	return nil
}

// otherRoom looks at the volumes of other stores.
func otherRoom(s *snapshot.Snapshot) []Finding {
	if m := unseen(s, snapshot.Volumes); m != nil {
		return []Finding{skip(snapshot.Volumes, m)}
	}
	var out []Finding
	for _, v := range s.Volumes() {
		share := float64(v.Used) / float64(v.Capacity)
		if share <= nearlyFull {
			continue
		}
		f := Finding{Status: Warning, Ref: snapshot.Ref{Kind: "PersistentVolumeClaim", Namespace: v.Namespace, Name: v.Claim}, Detail: fmt.Sprintf("%.0f %% full: %s of %s (pod %s)", share*100, size(float64(v.Used)), size(float64(v.Capacity)), v.Pod.Name),
			Fix: "a shorter retention (loki.limits_config.retention_period with compactor.retention_enabled), or a larger volume: kubectl edit pvc -n " + v.Namespace + " " + v.Claim}
		if share > asGoodFull {
			f.Status = Error
			f.Explains = append(complaintsIn("", "full", "refused"), "LS1005", "LS0401@pod/"+v.Namespace+"/"+v.Pod.Name)
		}
		out = append(out, f)
	}
	return out
}

func checkRoom(s *snapshot.Snapshot) []Finding {
	if m := unseen(s, snapshot.Flow); m != nil {
		return []Finding{skip(snapshot.Flow, m)}
	}
	if s.Flow() == nil {
		return nil
	}
	if out := unasked(s); out != nil {
		return out
	}
	r := roomOf(s)
	used := size(r.used)
	if r.volume > 0 {
		used += " of " + size(r.volume)
	}
	f := Finding{Status: Error, Ref: ownService(s), Explains: append(complaintsIn(s.Namespace, "full"), "LS1001", "LS1002", "LS1003", "LS1004"),
		Fix: "a larger volume or a shorter retention: " + install.Command(s.Namespace, "install --storage-size 20Gi") + ", or --retention 72h"}
	switch {
	case s.Flow().DiskFull:
		f.Detail = "the volume is full, nothing is stored: " + used
	case r.volume > 0 && r.used > asGoodFull*r.volume:
		f.Detail = "the volume is as good as full: " + used + left(r)
	case r.volume > 0 && r.used > nearlyFull*r.volume && (r.maxDisk == 0 || r.maxDisk > nearlyFull*r.volume):
		f.Status, f.Detail, f.Explains = Warning, "the volume is nearly full: "+used+left(r), nil
	default:
		return []Finding{{Status: OK, Detail: used + left(r)}}
	}
	return []Finding{f}
}

// left says what is stored a day, and how long there is room for that.
func left(r room) string {
	if r.perDay == 0 {
		return ""
	}
	s := fmt.Sprintf(" for %s, %s a day", plural(int(r.days), "day"), size(r.perDay))
	switch limit := r.limit(); {
	case limit == 0:
	case r.retention > 0 && r.perDay*r.retention.Hours()/24 < limit:
		s += "; the retention of " + days(r.retention) + " comes before the limit of " + size(limit)
	default:
		s += fmt.Sprintf("; room for %s more", plural(int(max(limit-r.used, 0)/r.perDay), "day"))
	}
	return s
}

// reserve is the part by which a need is raised: days differ.
const reserve = 1.2

func checkRetentionFits(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	r := roomOf(s)
	limit := r.limit()
	switch {
	case r.perDay == 0:
		return []Finding{{Status: OK, Detail: "less than a day is stored: too early to say"}}
	case limit == 0 || r.retention == 0:
		return []Finding{{Status: OK, Detail: "there is no retention or no limit: " + size(r.perDay) + " a day"}}
	}
	need := r.perDay * r.retention.Hours() / 24 * reserve
	if need <= limit {
		return []Finding{{Status: OK, Detail: fmt.Sprintf("%s for %s, of %s", size(need), days(r.retention), size(limit))}}
	}
	gib := int(math.Ceil(need / nearlyFull / (1 << 30))) // the collector fills at most 80 % of a volume
	fit := int(limit / r.perDay / reserve)
	f := Finding{Status: Warning, Ref: ownService(s), Detail: fmt.Sprintf("%s a day for %s need %s, and the limit is %s: lines are removed after about %s", size(r.perDay), days(r.retention), size(need), size(limit), plural(int(limit/r.perDay), "day")),
		Fix: install.Command(s.Namespace, fmt.Sprintf("install --storage-size %dGi", gib))}
	if fit > 0 {
		f.Fix += fmt.Sprintf(", or --retention %dd", fit)
	}
	return []Finding{f}
}

// size is a number of bytes for people.
func size(n float64) string { return humanize.IBytes(uint64(max(n, 0))) }

// days is a retention as people write it.
func days(d time.Duration) string { return commonmodel.Duration(d).String() }
