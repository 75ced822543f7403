package chunk

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustEncode encodes rows or ends the test.
func mustEncode(t testing.TB, opts EncoderOptions, rows *Rows) []byte {
	t.Helper()
	b, err := NewEncoder(opts).Encode(nil, rows)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return b
}

// mustDecode opens and decodes a block in memory or ends the test.
func mustDecode(t testing.TB, data []byte) *Rows {
	t.Helper()
	dec, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenBytes(data)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	var rows Rows
	if err := b.Decode(dec, &rows); err != nil {
		t.Fatalf("decode: %v", err)
	}
	return &rows
}

// diffRows describes the first difference, "" if there is none.
func diffRows(want, got *Rows) string {
	if want.Len() != got.Len() || len(got.Lines) != len(want.Lines) || len(got.Stream) != len(want.Stream) {
		return fmt.Sprintf("%d rows, want %d", got.Len(), want.Len())
	}
	for i := range want.Timestamps {
		if want.Stream[i] != got.Stream[i] || want.Timestamps[i] != got.Timestamps[i] {
			return fmt.Sprintf("row %d: stream %d time %d, want %d %d", i, got.Stream[i], got.Timestamps[i], want.Stream[i], want.Timestamps[i])
		}
		if want.Lines[i] != got.Lines[i] {
			return fmt.Sprintf("row %d: line %.200q, want %.200q", i, got.Lines[i], want.Lines[i])
		}
		var w, g labels.Labels
		if len(want.Metadata) > 0 {
			w = want.Metadata[i]
		}
		if len(got.Metadata) > 0 {
			g = got.Metadata[i]
		}
		if !labels.Equal(w, g) {
			return fmt.Sprintf("row %d: metadata %s, want %s", i, g, w)
		}
	}
	return ""
}

func TestRoundTripSimple(t *testing.T) {
	rows := &Rows{
		Stream:     []uint32{3, 3, 7, 7, 7},
		Timestamps: []int64{-5, 10, -1 << 63, 0, 1<<63 - 1},
		Lines:      []string{"a=1", "", "x\x00\xff\r\n", "b", "a=2"},
	}
	for _, plain := range []bool{true, false} {
		data := mustEncode(t, EncoderOptions{Plain: plain}, rows)
		if d := diffRows(rows, mustDecode(t, data)); d != "" {
			t.Errorf("plain %v: %s", plain, d)
		}
		b, err := Open(bytes.NewReader(append([]byte("front"), data...)), 5, len(data))
		if err != nil {
			t.Fatal(err)
		}
		var times Rows
		if err := b.DecodeTimes(&times); err != nil {
			t.Fatal(err)
		}
		streams, err := b.Streams()
		if err != nil || len(streams) != 2 || streams[1] != (StreamRange{Stream: 7, FirstRow: 2, Rows: 3, Bytes: 9, MinTime: -1 << 63, MaxTime: 1<<63 - 1}) {
			t.Errorf("streams %+v %v", streams, err)
		}
	}
}

// TestRoundTripFamilies encodes realistic blocks of every family.
func TestRoundTripFamilies(t *testing.T) {
	for k := range corpus.NumKinds {
		rows := familyRows(corpus.Kind(k), TargetRawBytes/4)
		data := mustEncode(t, EncoderOptions{}, rows)
		if data[5] != modeColumns {
			t.Errorf("%s: not in columns", corpus.Kind(k))
		}
		if d := diffRows(rows, mustDecode(t, data)); d != "" {
			t.Errorf("%s: %s", corpus.Kind(k), d)
		}
	}
}
