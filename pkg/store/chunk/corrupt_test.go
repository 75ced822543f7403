package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

// sampleRows are few rows that still use every section.
func sampleRows() *Rows {
	rows := &Rows{}
	g := corpus.New(5)
	for i := range 90 {
		rows.Stream = append(rows.Stream, uint32(i/30))
		l := g.Line([]corpus.Kind{corpus.Logfmt, corpus.Java, corpus.Logfmt}[i/30])
		rows.Timestamps = append(rows.Timestamps, g.Now())
		rows.Lines = append(rows.Lines, l)
	}
	rows.Metadata = randomMetadata(rand.New(rand.NewPCG(3, 4)), rows.Len())
	return rows
}

// readAll uses everything that a block offers and returns the rows.
func readAll(data []byte) (*Rows, error) {
	b, err := OpenBytes(data)
	if err != nil {
		return nil, err
	}
	dec, err := getDecoder()
	if err != nil {
		return nil, err
	}
	defer putDecoder(dec)
	if _, err := b.Streams(); err != nil {
		return nil, err
	}
	var times, rows Rows
	if err := b.DecodeTimes(&times); err != nil {
		return nil, err
	}
	if _, err := b.MayContain([]string{"request", "u-7", "a1b2c3d4"}); err != nil {
		return nil, err
	}
	n := b.NumRows()
	if err := b.DecodeRange(dec, &rows, n/3, n-n/3); err != nil {
		return nil, err
	}
	if err := b.DecodeSome(dec, &rows, 0, n, &Choice{Needles: []string{"request", "9f"}}); err != nil {
		return nil, err
	}
	return &rows, b.Decode(dec, &rows)
}

// expectDamage fails unless err is one of the typed errors of this package.
func expectDamage(t *testing.T, err error, what string, args ...any) {
	t.Helper()
	if !errors.As(err, new(*CorruptError)) && !errors.As(err, new(*VersionError)) {
		t.Errorf(what+": %v", append(args, err)...)
	}
}

// TestFlippedBytes damages every byte of a block: the checksums notice.
func TestFlippedBytes(t *testing.T) {
	for _, plain := range []bool{false, true} {
		data := mustEncode(t, EncoderOptions{Plain: plain}, sampleRows())
		if _, err := readAll(data); err != nil {
			t.Fatal(err)
		}
		for i := range data {
			bad := slices.Clone(data)
			bad[i] ^= byte(1 << (i % 8))
			_, err := readAll(bad)
			expectDamage(t, err, "plain %v, byte %d", plain, i)
		}
		for n := range data {
			_, err := readAll(data[:n])
			expectDamage(t, err, "plain %v, cut to %d bytes", plain, n)
		}
		_, err := readAll(append(slices.Clone(data), 0))
		expectDamage(t, err, "plain %v, one byte more", plain)
	}
}

// TestSectionsAlone: damage in a section does not hurt who does not read it.
func TestSectionsAlone(t *testing.T) {
	rows := sampleRows()
	data := mustEncode(t, EncoderOptions{}, rows)
	h, err := parseHeader(data, len(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		damaged               Section
		streams, times, texts bool // still work
	}{
		{SectionStreams, false, false, true},
		{SectionTimes, true, false, true},
		{SectionMeta, true, true, true},
		{SectionText, true, true, false},
		{SectionRaw, true, true, false},
		{SectionIDs, true, true, false},
		{SectionData, true, true, true},
		{SectionMetadata, true, true, true},
	} {
		if !h.present[c.damaged] {
			t.Fatalf("sample has no %s", c.damaged)
		}
		bad := slices.Clone(data)
		bad[h.offset[c.damaged]+h.length[c.damaged]/2] ^= 4
		b, err := OpenBytes(bad)
		if err != nil {
			t.Fatal(err)
		}
		_, errStreams := b.Streams()
		errTimes := b.DecodeTimes(&Rows{})
		_, errText := b.MayContain([]string{"zzyzxabsent"})
		if errText == nil {
			_, errText = b.MayContain([]string{"1a2b3c4d5e6f7a8b"})
		}
		for _, r := range []struct {
			what string
			err  error
			ok   bool
		}{{"streams", errStreams, c.streams}, {"times", errTimes, c.times}, {"search", errText, c.texts}} {
			var ce *CorruptError
			if r.ok != (r.err == nil) || r.err != nil && (!errors.As(r.err, &ce) || ce.Section != c.damaged) {
				t.Errorf("%s damaged: %s: %v", c.damaged, r.what, r.err)
			}
		}
		_, err = readAll(bad)
		expectDamage(t, err, "%s damaged", c.damaged)
	}
}

// fixChecksums makes the checksums right again after a change, as far as the
// header can be understood.
func fixChecksums(data []byte) {
	if len(data) < headerFixed+headerCRC {
		return
	}
	n := int(data[7])
	end := headerFixed + n*sectionEntry
	if len(data) < end+headerCRC {
		return
	}
	at := end + headerCRC
	for i := range n {
		e := data[headerFixed+i*sectionEntry:]
		l := int(binary.LittleEndian.Uint32(e[1:]))
		if l > len(data)-at {
			break
		}
		binary.LittleEndian.PutUint32(e[5:], crc32.Checksum(data[at:at+l], castagnoli))
		at += l
	}
	binary.LittleEndian.PutUint32(data[end:], crc32.Checksum(data[:end], castagnoli))
}

// unpackedBlock rewrites a block with its packed sections stored, so that
// changes reach the decoder behind zstd.
func unpackedBlock(t testing.TB, data []byte) []byte {
	t.Helper()
	dec, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	var parts [numSections][]byte
	for s := range numSections {
		p, err := b.section(Section(s))
		if err != nil {
			t.Fatal(err)
		}
		parts[s] = p
		switch Section(s) {
		case SectionMeta, SectionText, SectionRaw:
			if len(p) > 0 {
				parts[s] = stored(t, dec, p)
			}
		case SectionMetadata:
			if len(p) == 0 || p[0] != metadataTable {
				break
			}
			r := reader{buf: p[1:]}
			var lens [5]int
			for i := range lens {
				lens[i] = r.count(len(p))
			}
			var head, body []byte
			for i, n := range lens {
				part := r.bytes(n)
				if i < 3 && n > 0 {
					part = stored(t, dec, part)
				}
				head = binary.AppendUvarint(head, uint64(len(part)))
				body = append(body, part...)
			}
			parts[s] = append(append([]byte{metadataTable}, head...), body...)
		}
	}
	out := appendHeader(nil, b.h, &parts)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func stored(t testing.TB, dec *Decoder, packed []byte) []byte {
	var buf []byte
	text, err := unpack(dec.zstd, &buf, packed, SectionHeader, MaxBlockBytes)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.AppendUvarint([]byte{codecStored}, uint64(len(text)))
	return append(out, text...)
}

// TestDamageBehindChecksums changes bytes and repairs the checksums: there is no
// right answer any more, only no panic, no row too many and no wild allocation.
func TestDamageBehindChecksums(t *testing.T) {
	data := unpackedBlock(t, mustEncode(t, EncoderOptions{}, sampleRows()))
	if _, err := readAll(data); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(*seedFlag, 8))
	step := 3
	if testing.Short() {
		step = 11
	}
	for i := 0; i < len(data); i += step {
		for _, change := range []func(b byte) byte{
			func(b byte) byte { return b ^ 1<<r.IntN(8) },
			func(byte) byte { return 0 },
			func(byte) byte { return 0xFF },
			func(byte) byte { return byte(r.IntN(16)) },
		} {
			bad := slices.Clone(data)
			bad[i] = change(bad[i])
			fixChecksums(bad)
			checkBounded(t, bad)
		}
	}
}

// checkBounded decodes arbitrary bytes and checks what must hold for any.
func checkBounded(t testing.TB, data []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rows, err := readAll(data)
	runtime.ReadMemStats(&after)
	// The worst a header may honestly ask for: integers, lines, texts, twice.
	if got := after.TotalAlloc - before.TotalAlloc; got > 512<<20 {
		t.Errorf("%d bytes decoded with %d MiB of allocations", len(data), got>>20)
	}
	if err != nil {
		if !errors.As(err, new(*CorruptError)) && !errors.As(err, new(*VersionError)) {
			t.Errorf("untyped error %v", err)
		}
		return
	}
	n := 0
	for i, l := range rows.Lines {
		n += len(l)
		if i > 0 && (rows.Stream[i] < rows.Stream[i-1] || rows.Stream[i] == rows.Stream[i-1] && rows.Timestamps[i] < rows.Timestamps[i-1]) {
			t.Errorf("row %d is out of order", i)
		}
	}
	if rows.Len() > MaxRows || n > MaxRawBytes || len(rows.Lines) != rows.Len() {
		t.Errorf("%d rows, %d lines, %d bytes", rows.Len(), len(rows.Lines), n)
	}
}

// TestBombs are small blocks that claim much.
func TestBombs(t *testing.T) {
	block := func(rows, raw int, meta, text, data []byte) []byte {
		h := header{rows: rows, rawBytes: raw, flags: flagLettersWhole}
		var p [numSections][]byte
		p[SectionStreams] = []byte{1, 0}
		p[SectionStreams] = binary.AppendUvarint(p[SectionStreams], uint64(rows))
		p[SectionStreams] = binary.AppendUvarint(p[SectionStreams], uint64(raw))
		p[SectionStreams] = append(p[SectionStreams], 0, 0)
		p[SectionTimes] = []byte{1, 2, intsConst, 0}
		for s, b := range map[Section][]byte{SectionMeta: meta, SectionText: text} {
			p[s] = append(binary.AppendUvarint([]byte{codecStored}, uint64(len(b))), b...)
		}
		p[SectionData] = data
		out := appendHeader(nil, &h, &p)
		for _, b := range p {
			out = append(out, b...)
		}
		return out
	}
	uv := func(dst []byte, v ...uint64) []byte {
		for _, x := range v {
			dst = binary.AppendUvarint(dst, x)
		}
		return dst
	}
	// Many columns of many constant integers.
	meta := uv(nil, 0, 1, 1000, 1000)
	meta = append(meta, make([]byte, 1000)...)
	meta = append(meta, intsConst, 0)
	for range 1000 {
		meta = append(meta, nodeInt, intsConst, 7)
	}
	manyInts := block(MaxRows, MaxRawBytes, meta, bytes.Repeat([]byte{fieldMark}, 1000), nil)
	// A large constant that every row repeats in every field.
	meta = uv(nil, 0, 1, 100, 100)
	meta = append(meta, make([]byte, 100)...)
	meta = append(meta, intsConst, 0)
	for range 100 {
		meta = uv(append(meta, nodeConst), 1000)
	}
	bigConst := block(MaxRows, 1<<20, meta, append(bytes.Repeat([]byte{fieldMark}, 100), make([]byte, 100_000)...), nil)
	// A packed section that claims a huge content.
	claim := block(1, 1, nil, nil, nil)
	for name, data := range map[string][]byte{"integers": manyInts, "constants": bigConst, "claim": claim} {
		_, err := readAll(data)
		expectDamage(t, err, "%s", name)
		checkBounded(t, data)
	}
}

// TestTimesOutOfOrder: a difference that goes back is damage, even when the sum is right.
func TestTimesOutOfOrder(t *testing.T) {
	rows := oneStream([]string{"a", "b", "c"})
	rows.Timestamps = []int64{100, 110, 105}
	var e Encoder
	e.streams = []StreamRange{{Stream: 1, Rows: 3, Bytes: 3, MinTime: 100, MaxTime: 105}}
	e.encodeStreams(100)
	e.encodeTimes(rows)
	out := appendHeader(nil, &header{mode: modePlain, rows: 3, rawBytes: 3, minTime: 100, maxTime: 110}, &e.parts)
	for _, p := range e.parts {
		out = append(out, p...)
	}
	b := must(OpenBytes(out))
	err := b.DecodeTimes(&Rows{})
	var ce *CorruptError
	if !errors.As(err, &ce) || ce.Section != SectionTimes {
		t.Errorf("%v", err)
	}
}

// TestReadErrors: an I/O error is not damage, and a short file is.
func TestReadErrors(t *testing.T) {
	data := mustEncode(t, EncoderOptions{}, sampleRows())
	b, err := Open(bytes.NewReader(data), 0, len(data))
	if err != nil {
		t.Fatal(err)
	}
	b.src = errReader{}
	err = b.Decode(must(NewDecoder()), &Rows{})
	if !errors.Is(err, errDisk) || errors.As(err, new(*CorruptError)) {
		t.Errorf("disk error: %v", err)
	}
	if _, err = Open(bytes.NewReader(data[:len(data)-1]), 0, len(data)); err != nil {
		t.Fatal(err) // the header is whole
	}
	b, _ = Open(bytes.NewReader(data[:len(data)-1]), 0, len(data))
	expectDamage(t, b.Decode(must(NewDecoder()), &Rows{}), "short file")
	if _, err := Open(errReader{}, 0, len(data)); !errors.Is(err, errDisk) {
		t.Errorf("open: %v", err)
	}
}

var errDisk = iotest.ErrTimeout

type errReader struct{}

func (errReader) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

var _ io.ReaderAt = errReader{}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
