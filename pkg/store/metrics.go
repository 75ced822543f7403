package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// metrics are the store's counters. Sizes are read from Status when somebody
// asks.
type metrics struct {
	entries, bytes, duplicates      prometheus.Counter
	appendFailures                  prometheus.Counter
	appendSeconds                   prometheus.Histogram
	flushes, flushFailures          prometheus.Counter
	compactions, compactionFailures prometheus.Counter
	blocksRetained                  prometheus.Counter

	collectors []prometheus.Collector
}

func newMetrics(reg prometheus.Registerer, db *DB) *metrics {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "logstack", Subsystem: "store", Name: name, Help: help})
		m.collectors = append(m.collectors, c)
		return c
	}
	m.entries = counter("appended_entries_total", "Entries made durable.")
	m.bytes = counter("appended_bytes_total", "Bytes of lines made durable.")
	m.duplicates = counter("duplicate_entries_total", "Entries left out because they were there already.")
	m.appendFailures = counter("append_failures_total", "Writes of the write-ahead log that failed.")
	m.flushes = counter("flushes_total", "Heads turned into blocks.")
	m.flushFailures = counter("flush_failures_total", "Flushes that failed and will be tried again.")
	m.compactions = counter("compactions_total", "Compactions done.")
	m.compactionFailures = counter("compaction_failures_total", "Compactions or retentions that failed and will be tried again.")
	m.blocksRetained = counter("blocks_expired_total", "Blocks removed by age or disk size.")
	m.appendSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "logstack", Subsystem: "store", Name: "append_seconds", Help: "Time until a batch was durable.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
	})
	m.collectors = append(m.collectors, m.appendSeconds, statusCollector{db})
	if reg != nil {
		for _, c := range m.collectors {
			reg.MustRegister(c)
		}
	}
	return m
}

func (m *metrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.collectors {
		reg.Unregister(c)
	}
}

func (m *metrics) appended(b *model.Batch, d time.Duration) {
	n := 0
	for i := range b.Streams {
		for j := range b.Streams[i].Entries {
			n += len(b.Streams[i].Entries[j].Line)
		}
	}
	m.entries.Add(float64(b.Len()))
	m.bytes.Add(float64(n))
	m.appendSeconds.Observe(d.Seconds())
}

// statusCollector exports Status as gauges.
type statusCollector struct{ db *DB }

var statusGauges = []struct {
	desc  *prometheus.Desc
	value func(*Status) float64
}{
	{gauge("head_entries", "Entries in memory."), func(s *Status) float64 { return float64(s.HeadEntries) }},
	{gauge("head_streams", "Streams in memory."), func(s *Status) float64 { return float64(s.HeadStreams) }},
	{gauge("head_bytes", "Estimated memory of the head."), func(s *Status) float64 { return float64(s.HeadBytes) }},
	{gauge("blocks", "Blocks on disk."), func(s *Status) float64 { return float64(s.Blocks) }},
	{gauge("block_entries", "Entries in blocks."), func(s *Status) float64 { return float64(s.BlockEntries) }},
	{gauge("block_raw_bytes", "Bytes of lines in blocks before compression."), func(s *Status) float64 { return float64(s.RawBytes) }},
	{gauge("block_bytes", "Size of all blocks on disk."), func(s *Status) float64 { return float64(s.BlockBytes) }},
	{gauge("wal_bytes", "Size of the write-ahead log on disk."), func(s *Status) float64 { return float64(s.WALBytes) }},
	{gauge("oldest_timestamp_seconds", "Timestamp of the oldest entry."), func(s *Status) float64 { return float64(s.OldestTime) / 1e9 }},
	{gauge("pending_deletes", "Delete requests whose space has not been given back."), func(s *Status) float64 { return float64(s.PendingDeletes) }},
	{gauge("bad_chunk_blocks", "Chunk blocks that could not be read since the start."), func(s *Status) float64 { return float64(s.BadChunkBlocks) }},
	{gauge("wal_damage", "Damaged places of the write-ahead log found at the start."), func(s *Status) float64 { return float64(s.WALDamage) }},
	{gauge("disk_full", "1 when the last write failed for lack of space."), func(s *Status) float64 {
		if s.DiskFull {
			return 1
		}
		return 0
	}},
}

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("logstack_store_"+name, help, nil, nil)
}

// Describe implements prometheus.Collector.
func (c statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range statusGauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c statusCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.db.Status()
	for _, g := range statusGauges {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(&s))
	}
}
