package snapshot

import (
	"encoding/json"
	"time"
)

// The spans of a [FlowResult].
const (
	FlowNow    = 5 * time.Minute
	FlowRecent = 15 * time.Minute
	FlowLong   = 24 * time.Hour
	// FlowAhead is how far the clock of a node may be ahead before its lines are
	// lines of the future: what Loki grants (creation_grace_period).
	FlowAhead = 10 * time.Minute
)

// FlowResult is what our collector has stored lately. Lines are counted.
type FlowResult struct {
	// Now is the number of lines of the last [FlowNow].
	Now float64
	// Recent and Long are the lines per namespace of [FlowRecent] and [FlowLong].
	Recent, Long map[string]float64
	// Gaps are the marked gaps of the last day per namespace: places where lines
	// may be missing because a log file was rotated away or could not be read.
	// GapsErr says why they could not be counted.
	Gaps    map[string]float64
	GapsErr error
	// Last is the time of the last line of namespaces that have lines in Long and
	// none in Recent, as far as it was asked for.
	Last map[string]time.Time
	// Oldest and Newest are the times of the oldest and the newest line that is
	// stored; zero without any.
	Oldest, Newest time.Time
	// Ahead are the lines per namespace with a time later than [FlowAhead] from
	// now; asked for when Newest is.
	Ahead map[string]float64
	// DiskBytes is what the store occupies, DiskFull says that it cannot write.
	DiskBytes int64
	DiskFull  bool
	// Err says why the collector could not be asked.
	Err error
}

// ReadStatus takes what it knows from the JSON of /logstack/v1/status.
func (f *FlowResult) ReadStatus(body []byte) error {
	var st struct {
		Store struct {
			Oldest    time.Time `json:"oldest"`
			Newest    time.Time `json:"newest"`
			DiskBytes int64     `json:"diskBytes"`
			DiskFull  bool      `json:"diskFull"`
		} `json:"store"`
	}
	if err := json.Unmarshal(body, &st); err != nil {
		return err
	}
	f.Oldest, f.Newest, f.DiskBytes, f.DiskFull = st.Store.Oldest, st.Store.Newest, st.Store.DiskBytes, st.Store.DiskFull
	return nil
}

// Flow is what our collector has stored lately; nil when nobody asked.
func (s *Snapshot) Flow() *FlowResult {
	s.t.touch(Flow)
	return s.d.flow
}

// SetFlow is for loaders and tests.
func (s *Snapshot) SetFlow(f *FlowResult) { s.d.flow = f }
