package peers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// randomBatch makes a batch with some of the columns.
func randomBatch(rnd *rand.Rand, streams []labels.Labels, rows int) *model.EntryBatch {
	b := &model.EntryBatch{Streams: streams}
	meta, lines, counts := rnd.IntN(2) == 0, rnd.IntN(3) > 0, rnd.IntN(4) == 0
	for range rows {
		b.StreamIndex = append(b.StreamIndex, uint32(rnd.IntN(len(streams))))
		b.Timestamps = append(b.Timestamps, []int64{math.MinInt64, -1, 0, 1, math.MaxInt64, rnd.Int64()}[rnd.IntN(6)])
		if lines {
			b.Lines = append(b.Lines, strings.Repeat("\xffline ", rnd.IntN(5)))
		}
		if meta {
			b.Metadata = append(b.Metadata, labels.FromStrings("level", fmt.Sprint(rnd.IntN(30))))
		}
		if counts {
			b.Counts = append(b.Counts, rnd.Uint32())
		}
	}
	return b
}

// TestBatches encodes and decodes batches of one iteration.
func TestBatches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		var enc batchEncoder
		var table batchTable
		var got model.EntryBatch
		var streams []labels.Labels
		for range 3 {
			for range 1 + rnd.IntN(3) {
				streams = append(streams, labels.FromStrings("app", fmt.Sprint(len(streams)), "x", "\xff"))
			}
			b := randomBatch(rnd, streams, 1+rnd.IntN(200))
			for from := 0; from < b.Len(); {
				to := min(b.Len(), from+1+rnd.IntN(50))
				if err := table.decodeBatch(enc.encode(b, from, to), &got); err != nil {
					t.Fatal(err)
				}
				want := model.EntryBatch{Streams: streams, StreamIndex: b.StreamIndex[from:to], Timestamps: b.Timestamps[from:to]}
				if b.Lines != nil {
					want.Lines = b.Lines[from:to]
				}
				if b.Metadata != nil {
					want.Metadata = b.Metadata[from:to]
				}
				if b.Counts != nil {
					want.Counts = b.Counts[from:to]
				}
				if d := cmp.Diff(want, got, cmp.Comparer(labels.Equal)); d != "" {
					t.Fatal(d)
				}
				from = to
			}
		}
	}
}

func TestCutRows(t *testing.T) {
	b := &model.EntryBatch{}
	for i := range 40_000 {
		line := "x"
		if i == 7 {
			line = strings.Repeat("long", frameText)
		}
		b.Timestamps = append(b.Timestamps, 1)
		b.Lines = append(b.Lines, line)
	}
	var cuts []int
	for from := 0; from < b.Len(); {
		from = cutRows(b, from)
		cuts = append(cuts, from)
	}
	if d := cmp.Diff([]int{7, 8, 8 + frameRows, 8 + 2*frameRows, 40_000}, cuts); d != "" {
		t.Error(d)
	}
}

// answerOf is a small answer with all kinds of frames.
func answerOf(t testing.TB) []byte {
	var out bytes.Buffer
	w := frameWriter{w: &out}
	var enc batchEncoder
	b := randomBatch(rand.New(rand.NewPCG(2, 2)), []labels.Labels{labels.FromStrings("app", "web"), labels.FromStrings("app", "db", "ns", "shop")}, 300)
	b.Metadata = nil
	for range b.Timestamps {
		b.Metadata = append(b.Metadata, labels.FromStrings("trace", "1"))
	}
	for kind, payload := range map[byte][]byte{frameHeartbeat: nil} {
		if err := w.write(kind, payload); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []struct {
		kind    byte
		payload []byte
	}{
		{frameBatch, enc.encode(b, 0, 200)}, {frameList, appendString(nil, "name")},
		{frameList, appendExtent(nil, model.StreamSpans{Labels: b.Streams[1], Spans: []model.Span{{Min: -1, Max: 4}, {Min: 9, Max: 9}}})},
		{frameList, appendVolume(nil, model.StreamVolume{Labels: b.Streams[0], Entries: 3, Bytes: 400, Chunks: 1})},
		{frameError, []byte("it failed")}, {frameEnd, appendStats(nil, model.SelectStats{Lines: 300})},
	} {
		if err := w.write(f.kind, f.payload); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// readAnswer reads frames with all that reads them.
func readAnswer(data []byte) (frames int, err error) {
	r := frameReader{r: bytes.NewReader(data)}
	var table batchTable
	var b model.EntryBatch
	var payload []byte
	for {
		var kind byte
		if kind, payload, err = r.next(payload); err != nil {
			return frames, err
		}
		frames++
		switch kind {
		case frameBatch:
			err = table.decodeBatch(payload, &b)
			if err == nil && (b.Lines != nil && len(b.Lines) != b.Len() || b.Metadata != nil && len(b.Metadata) != b.Len()) {
				return frames, errors.New("columns of different lengths")
			}
		case frameList:
			for _, element := range []func(*decoder){
				func(d *decoder) { d.text() }, func(d *decoder) { d.labels() }, func(d *decoder) { d.volume() }, func(d *decoder) { d.extent() },
			} {
				d := decoder{b: payload}
				for n := 0; len(d.b) > 0 && d.err == nil; n++ {
					element(&d)
				}
			}
		case frameEnd:
			_, err = decodeStats(payload)
		}
		if err != nil {
			return frames, err
		}
	}
}

// TestDamagedAnswers cuts an answer off at every byte and changes every byte: the
// damage is always noticed.
func TestDamagedAnswers(t *testing.T) {
	data := answerOf(t)
	whole, err := readAnswer(data)
	if !errors.Is(err, io.ErrUnexpectedEOF) || whole != 7 {
		t.Fatalf("%d frames, %v", whole, err)
	}
	for n := range data {
		if frames, err := readAnswer(data[:n]); frames >= whole || err == nil {
			t.Errorf("cut off at %d: %d frames, %v", n, frames, err)
		}
		bad := bytes.Clone(data)
		bad[n] ^= 0x20
		kind := len(preamble) <= n && isKind(data, n) // it is not part of the checksum
		if frames, err := readAnswer(bad); frames >= whole && !kind || err == nil {
			t.Errorf("byte %d is wrong: %d frames, %v", n, frames, err)
		}
	}
}

// isKind says whether a byte is the kind of a frame.
func isKind(data []byte, n int) bool {
	for at := len(preamble); at < len(data); {
		if at == n {
			return true
		}
		size := int(data[at+2]) | int(data[at+3])<<8 | int(data[at+4])<<16
		at += frameHeader + size
	}
	return false
}

// TestHostileSizes announces much and sends little: memory does not grow with
// what is announced.
func TestHostileSizes(t *testing.T) {
	head := []byte(preamble + "B\x00\x00\x00\x00\x05ABCD") // 80 MiB
	r := frameReader{r: bytes.NewReader(head)}
	if _, _, err := r.next(nil); !errors.Is(err, io.ErrUnexpectedEOF) || cap(r.sent) > 2<<20 {
		t.Errorf("%v, %d bytes", err, cap(r.sent))
	}
	for name, payload := range map[string][]byte{
		"rows":    {0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 1},
		"streams": {0, 0, 0xff, 0xff, 0xff, 0x7f, 1},
		"sets":    {hasMetadata, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f},
		"stream":  {0, 0, 0, 1, 0, 0},
		"parts":   {0x80, 0, 0, 0},
		"labels":  {0, 0, 1, 2, 1, 'b', 1, 'x', 1, 'a', 1, 'y', 0},
		"more":    {0, 0, 0, 0, 0},
	} {
		var table batchTable
		var b model.EntryBatch
		var bad *ProtocolError
		if err := table.decodeBatch(payload, &b); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzAnswer reads damaged answers; what is read is bounded by what was sent.
func FuzzAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/v1/*.answer")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readAnswer(data); err == nil || strings.Contains(err.Error(), "different lengths") {
			t.Error(err)
		}
	})
}

// FuzzBatch reads damaged batches, which a checksum would not let through.
func FuzzBatch(f *testing.F) {
	var enc batchEncoder
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 8 {
		enc.streams = 0
		f.Add(bytes.Clone(enc.encode(randomBatch(rnd, []labels.Labels{web, labels.FromStrings("app", "db", "ns", "shop")}, 20), 0, 20)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var table batchTable
		var b model.EntryBatch
		if table.decodeBatch(data, &b) != nil {
			return
		}
		if b.Len() != len(b.StreamIndex) || b.Lines != nil && len(b.Lines) != b.Len() || b.Metadata != nil && len(b.Metadata) != b.Len() || b.Counts != nil && len(b.Counts) != b.Len() {
			t.Error("columns of different lengths")
		}
		for _, id := range b.StreamIndex {
			if int(id) >= len(b.Streams) {
				t.Error("a row without a stream")
			}
		}
	})
}

// TestSamples reads answers of every version of the protocol.
func TestSamples(t *testing.T) {
	const file = "testdata/v1/all.answer"
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, answerOf(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAnswer(data); n != 7 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d frames, %v", n, err)
	}
}
