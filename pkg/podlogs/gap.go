package podlogs

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Names of structured metadata on entries that the collector writes itself.
const (
	// MetaGap marks an entry that stands for lines which may be missing; its
	// value is a GapReason.
	MetaGap = "__logstack_gap__"
	// MetaGapFrom and MetaGapTo bound the gap in RFC 3339: the last line stored
	// before it and the first one after it. Either is absent when not known.
	MetaGapFrom = "__logstack_gap_from__"
	MetaGapTo   = "__logstack_gap_to__"
	// MetaGapContainerID is the short id of the container run that was being read.
	MetaGapContainerID = "__logstack_gap_container_id__"
	// MetaGapInstances is the number of container runs nothing was read of.
	MetaGapInstances = "__logstack_gap_instances__"
	// MetaTruncated is on a line that was longer than the limit; its value is
	// the whole length in bytes.
	MetaTruncated = "__logstack_truncated__"
)

// GapReason says why lines may be missing.
type GapReason string

// The reasons, as they appear in MetaGap and in metrics.
const (
	// GapRotatedAway: the file with the last line was rotated while it was not
	// being followed. The API does not serve rotated files.
	GapRotatedAway GapReason = "rotated_away"
	// GapInstanceLost: container runs ended and were replaced before they were
	// read. The API serves only the current and the previous run.
	GapInstanceLost GapReason = "instance_lost"
	// GapPodDeleted: the pod was gone before its log was read to the end.
	GapPodDeleted GapReason = "pod_deleted_before_drain"
	// GapEvicted: the kubelet removed the pod's files when it evicted it.
	GapEvicted GapReason = "evicted"
	// GapUnavailable: the container has ended and its log can no longer be read.
	GapUnavailable GapReason = "log_unavailable"
)

var gapReasons = []GapReason{GapRotatedAway, GapInstanceLost, GapPodDeleted, GapEvicted, GapUnavailable}

// gap is a place where lines may be missing.
type gap struct {
	reason GapReason
	// from is the last line before the gap, to the first one after it; 0 is unknown.
	from, to int64
	// container is the short id of the instance that was being read.
	container string
	// instances is the number of runs that were missed as a whole.
	instances int
}

// seconds is the length, 0 if an end is unknown or the clock went back.
func (g gap) seconds() float64 {
	if g.from == 0 || g.to <= g.from {
		return 0
	}
	return float64(g.to-g.from) / float64(time.Second)
}

// entry is what gets stored in the target's stream. It lies a nanosecond behind
// the last line before the gap: answers group entries by metadata, so arrival
// order alone would not keep it there.
func (g gap) entry(now time.Time) model.Entry {
	ts := g.from
	if ts != 0 {
		ts++
	}
	if ts == 0 && g.to != 0 {
		// Before the lines of that second: to may be its end, see endOfSecond.
		ts = time.Unix(0, g.to).Truncate(time.Second).UnixNano()
	}
	if ts == 0 {
		ts = now.UnixNano()
	}
	return model.Entry{Timestamp: ts, Line: g.text(), Metadata: g.metadata()}
}

func (g gap) text() string {
	length := "unknown length"
	if g.from != 0 && g.to > g.from {
		d := time.Duration(g.to - g.from)
		switch {
		case d >= time.Minute:
			d = d.Round(time.Second)
		case d >= time.Second:
			d = d.Round(10 * time.Millisecond)
		default:
			d = d.Round(time.Microsecond)
		}
		length = d.String()
	}
	s := fmt.Sprintf("gap: %s, %s", length, g.reason)
	if g.instances > 0 {
		s += fmt.Sprintf(", %d container run(s) missed", g.instances)
	}
	return s
}

func (g gap) metadata() labels.Labels {
	b := labels.NewScratchBuilder(5)
	b.Add(MetaGap, string(g.reason))
	if g.from != 0 {
		b.Add(MetaGapFrom, time.Unix(0, g.from).UTC().Format(time.RFC3339Nano))
	}
	if g.to != 0 {
		b.Add(MetaGapTo, time.Unix(0, g.to).UTC().Format(time.RFC3339Nano))
	}
	if g.container != "" {
		b.Add(MetaGapContainerID, g.container)
	}
	if g.instances > 0 {
		b.Add(MetaGapInstances, strconv.Itoa(g.instances))
	}
	b.Sort()
	return b.Labels()
}
