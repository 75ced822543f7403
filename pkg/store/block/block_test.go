package block

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

var update = flag.Bool("update", false, "write testdata of the present format version anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// writeBlock writes a block of three chunk blocks, with two streams in the first,
// and with some filters if there are any.
func writeBlock(t testing.TB, fsys vfs.FS, dir string, filters ...string) *Meta {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := Create(fsys, dir, t.TempDir())
	must(err)
	enc := chunk.NewEncoder(chunk.EncoderOptions{})
	add := func(times []int64, names ...string) {
		t.Helper()
		var rows chunk.Rows
		var shares []StreamShare
		for i, n := range names {
			s := StreamShare{Labels: labels.FromStrings("app", n), Rows: len(times), MinTime: times[0], MaxTime: times[len(times)-1]}
			for _, ts := range times {
				rows.Stream = append(rows.Stream, uint32(i))
				rows.Timestamps = append(rows.Timestamps, ts)
				rows.Lines = append(rows.Lines, fmt.Sprintf("line of %s at %d", n, ts))
				s.Bytes += int64(len(rows.Lines[len(rows.Lines)-1]))
			}
			shares = append(shares, s)
		}
		b, err := enc.Encode(nil, &rows)
		must(err)
		var filter string
		if len(filters) > 0 {
			filter, filters = filters[0], filters[1:]
		}
		must(w.Append(b, shares, []byte(filter)))
	}
	add([]int64{10, 20, 30}, "b", "c")
	add([]int64{-5, 7}, "a")
	add([]int64{31, 40}, "c")
	m, err := w.Finish(context.Background(), Meta{ID: "0000000000000001", MinSeq: 3, MaxSeq: 4, WALBefore: 9})
	must(err)
	return m
}

// describe lists everything that a block holds.
func describe(t testing.TB, b *Block) string {
	t.Helper()
	var out strings.Builder
	err := b.Streams(context.Background(), nil, func(s index.Selected) error {
		fmt.Fprintf(&out, "stream %d %s %d..%d\n", s.Ordinal, s.Labels, s.MinTime, s.MaxTime)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dec, err := chunk.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	err = b.Chunks(func(c *Chunk) error {
		streams, err := c.Streams(nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "chunk %d: %d rows %d bytes %d..%d %+v\n", c.No, c.Rows, c.Bytes, c.MinTime, c.MaxTime, streams)
		if f := b.Filter(c.No); f != nil {
			fmt.Fprintf(&out, "  filter %q\n", f)
		}
		cb, err := chunk.Open(b.ReaderAt(), c.Offset, c.Size)
		if err != nil {
			return err
		}
		var rows chunk.Rows
		if err := cb.Decode(dec, &rows); err != nil {
			return err
		}
		for i := range rows.Lines {
			fmt.Fprintf(&out, "  %d %d %s\n", rows.Stream[i], rows.Timestamps[i], rows.Lines[i])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestFormat opens the blocks in testdata, which were written by the first release
// of their format, and compares them with what they held.
func TestFormat(t *testing.T) {
	for name, filters := range map[string][]string{"0000000000000001": nil, "0000000000000002": testFilters} {
		dir := filepath.Join("testdata", "v1", name)
		golden := filepath.Join("testdata", "v1", name+".txt")
		if *update {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			writeBlock(t, vfs.OS, dir, filters...)
		}
		b, err := Open(vfs.OS, dir)
		if err != nil {
			t.Fatal(err)
		}
		got := describe(t, b)
		if err := b.Close(false); err != nil {
			t.Error(err)
		}
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the block holds\n%swant\n%s", got, want)
		}
	}
}

// testFilters are for a block of writeBlock; the second chunk block has none.
var testFilters = []string{"first filter", "", "third"}

// TestFilterDamage flips every byte of the filters and cuts them off: what is
// given is as it was written, and the block stays readable.
func TestFilterDamage(t *testing.T) {
	fsys := vfs.NewMem()
	m := writeBlock(t, fsys, "/blocks/x", testFilters...)
	path := filepath.Join("/blocks/x", FilterFile)
	whole, err := vfs.ReadFile(fsys, path)
	if err != nil || int64(len(whole)) != m.Stats.FilterBytes {
		t.Fatalf("%d bytes of filters, want %d: %v", len(whole), m.Stats.FilterBytes, err)
	}
	check := func(what string, data []byte, lost int) {
		t.Helper()
		if err := vfs.WriteFile(fsys, path, data); err != nil {
			t.Fatal(err)
		}
		b, err := Open(fsys, "/blocks/x")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer b.Close(false) //nolint:errcheck // only read
		missing := 0
		for range 2 {
			missing = 0
			for i, want := range testFilters {
				switch got := b.Filter(i); {
				case len(got) == 0 && want != "":
					missing++
				case got != nil && string(got) != want:
					t.Errorf("%s: filter %d is %q, want %q", what, i, got, want)
				}
			}
		}
		if missing != lost && (lost < 2 || b.FilterErr == nil) {
			t.Errorf("%s: %d filters are missing, want %d; %v", what, missing, lost, b.FilterErr)
		}
		for _, no := range []int{-1, 3} {
			if b.Filter(no) != nil {
				t.Errorf("%s: there is a filter %d", what, no)
			}
		}
		if !strings.Contains(describe(t, b), "line of c at 40") {
			t.Errorf("%s: lines are missing", what)
		}
	}
	check("nothing", whole, 0)
	filters := len(testFilters[0]) + len(testFilters[2])
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 0x21
		switch {
		case i >= 5 && i < headerSize: // zeros that nobody looks at
			check(fmt.Sprintf("byte %d flipped", i), b, 0)
		case i >= headerSize && i < headerSize+filters:
			check(fmt.Sprintf("byte %d flipped", i), b, 1)
		default:
			check(fmt.Sprintf("byte %d flipped", i), b, 2)
		}
		check(fmt.Sprintf("cut off at %d", i), whole[:i], 2)
	}
}

// TestWriteRead writes a block, opens it, and removes it under a reader.
func TestWriteRead(t *testing.T) {
	fsys := vfs.NewMem()
	m := writeBlock(t, fsys, "/blocks/x")
	if m.MinTime != -5 || m.MaxTime != 40 || m.Stats.Rows != 10 || m.Stats.Streams != 3 || m.Stats.Chunks != 3 {
		t.Errorf("meta %+v", m)
	}
	b, err := Open(fsys, "/blocks/x")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&b.Meta, m) {
		t.Errorf("meta is %+v, written was %+v", b.Meta, m)
	}
	if !b.Pin() {
		t.Fatal("cannot pin an open block")
	}
	if err := b.Close(true); err != nil {
		t.Fatal(err)
	}
	if b.Pin() {
		t.Error("a closed block was pinned")
	}
	if d := describe(t, b); !strings.Contains(d, "line of c at 40") {
		t.Errorf("a pinned block cannot be read: %s", d)
	}
	if err := b.Unpin(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fsys, "/blocks/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening a removed block gave %v", err)
	}
}

// TestAbort leaves nothing behind.
func TestAbort(t *testing.T) {
	fsys := vfs.NewMem()
	w, err := Create(fsys, "/blocks/x", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(context.Background(), Meta{}); err == nil {
		t.Error("a block without rows was finished")
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if ents, err := fsys.ReadDir("/blocks"); err != nil || len(ents) > 0 {
		t.Errorf("left are %v, %v", ents, err)
	}
}

// FuzzMeta feeds junk to the decoder of meta.json and of the manifest.
func FuzzMeta(f *testing.F) {
	b, err := EncodeChecked(Meta{Version: 1, ID: "x", Encodings: []int{1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"crc32c":"00000000","meta":{}}`))
	f.Add([]byte(`{"crc32c":"","meta":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta("meta.json", b)
		var corrupt *CorruptError
		var version *VersionError
		if err != nil && !errors.As(err, &corrupt) && !errors.As(err, &version) {
			t.Fatalf("error %v has no type", err)
		}
		if err == nil && (m.ID == "" || m.MinTime > m.MaxTime) {
			t.Fatalf("accepted %+v", m)
		}
	})
}

// FuzzDirectory feeds junk to the decoder of the directory, past its checksum.
func FuzzDirectory(f *testing.F) {
	f.Add(appendEntry(nil, &Chunk{Size: 10, Rows: 3, Bytes: 30, MinTime: -1, MaxTime: 5},
		[]ChunkStream{{Ordinal: 1, Rows: 1, Bytes: 10, MinTime: -1, MaxTime: -1}, {Ordinal: 5, Rows: 2, Bytes: 20, MinTime: 0, MaxTime: 5}}))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := directory(b).each(func(c *Chunk) error {
			streams, err := c.Streams(nil)
			if err != nil {
				return err
			}
			if len(streams) != c.NumStreams() {
				t.Fatal("number of streams")
			}
			again = appendEntry(again, c, streams)
			return nil
		})
		if err != nil {
			return
		}
		third := []byte{}
		_ = directory(again).each(func(c *Chunk) error {
			streams, err := c.Streams(nil)
			third = appendEntry(third, c, streams)
			return err
		})
		if !bytes.Equal(again, third) {
			t.Fatalf("%x became %x", again, third)
		}
	})
}

// TestMetaIsJSON keeps meta.json readable for people with other tools.
func TestMetaIsJSON(t *testing.T) {
	b, err := EncodeChecked(Meta{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Meta Meta }
	if err := json.Unmarshal(b, &v); err != nil || v.Meta.ID != "x" {
		t.Errorf("%s: %v", b, err)
	}
}
