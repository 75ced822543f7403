package chunk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
	"github.com/prometheus/prometheus/model/labels"
)

// TestBytesPerLine keeps what the encoder reaches, times and headers included.
// In brackets: the random identifiers that nothing can remove, and plain zstd.
func TestBytesPerLine(t *testing.T) {
	limits := [corpus.NumKinds]float64{
		corpus.JSON:     40.5, // (24, 75)
		corpus.Logfmt:   30.2, // (16, 59)
		corpus.Nginx:    28.2, // (16, 49)
		corpus.Istio:    34.8, // (16, 66)
		corpus.Klog:     18.0, // (11, 38)
		corpus.Java:     18.4, // (8, 38)
		corpus.Postgres: 9.6,  // (0, 25)
	}
	e := NewEncoder(EncoderOptions{})
	for k, limit := range limits {
		rows := familyRows(corpus.Kind(k), TargetRawBytes)
		data, err := e.Encode(nil, rows)
		if err != nil {
			t.Fatal(err)
		}
		got := float64(len(data)) / float64(rows.Len())
		t.Logf("%-8s %.2f B/line", corpus.Kind(k), got)
		if got > limit {
			t.Errorf("%s: %.2f B/line, limit %.2f", corpus.Kind(k), got, limit)
		}
	}
}

// TestMetadataSize: what repeats per pod is free, a random trace costs its bits.
func TestMetadataSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	rows := familyRows(corpus.Java, TargetRawBytes/2)
	bare := len(mustEncode(t, EncoderOptions{}, rows))
	with := func(trace bool) float64 {
		rows.Metadata = nil
		for i := range rows.Len() {
			s := rows.Stream[i]
			b := labels.NewScratchBuilder(3)
			b.Add("container_id", fmt.Sprintf("containerd://%064x", uint64(s)*0x9E3779B97F4A7C15))
			b.Add("pod_uid", fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012x", s))
			if trace {
				b.Add("trace_id", fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
			}
			rows.Metadata = append(rows.Metadata, b.Labels())
		}
		return float64(len(mustEncode(t, EncoderOptions{}, rows))-bare) / float64(rows.Len())
	}
	if n := with(false); n > 0.2 {
		t.Errorf("pod_uid and container_id cost %.2f B/line", n)
	}
	if n := with(true); n > 16.2 {
		t.Errorf("trace_id costs %.2f B/line", n)
	}
}

func TestHeader(t *testing.T) {
	rows := sampleRows()
	data := mustEncode(t, EncoderOptions{}, rows)
	b := must(OpenBytes(data))
	raw, meta := 0, 0
	for i, l := range rows.Lines {
		raw += len(l)
		_, n := metadataSize(rows.Metadata[i])
		meta += n
	}
	first, last := rows.Timestamps[0], rows.Timestamps[len(rows.Timestamps)-1]
	if b.NumRows() != rows.Len() || b.MinTime() != first || b.MaxTime() != last || b.RawBytes() != raw || b.MetadataBytes() != meta || b.Size() != len(data) {
		t.Errorf("%d rows, %d to %d, %d + %d bytes, size %d", b.NumRows(), b.MinTime(), b.MaxTime(), b.RawBytes(), b.MetadataBytes(), b.Size())
	}
	sum := int64(0)
	for _, s := range must(b.Streams()) {
		sum += s.Bytes
	}
	if sum != int64(raw+meta) {
		t.Errorf("streams hold %d bytes, block %d", sum, raw+meta)
	}
	newer := append([]byte(nil), data...)
	newer[4] = 9
	_, err := OpenBytes(newer)
	var ve *VersionError
	if !errors.As(err, &ve) || ve.Version != 9 {
		t.Errorf("newer version: %v", err)
	}
	for _, err := range []error{ve, &LimitError{"rows", 5, 4}, &CorruptError{SectionText, 3, "x"}, &CorruptError{Section(99), -1, "x"}} {
		t.Log(err)
	}
}
