package nodefiles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(sec int) string {
	return time.Unix(int64(sec), 123456789).UTC().Format(time.RFC3339Nano)
}

type read struct {
	Sec       int64
	Stream    string
	Partial   bool
	Text      string
	Full      int
	Off, End  int64
	Remainder bool
}

func readAll(t *testing.T, src io.Reader, offset int64, maxText int) (recs []read, r *Reader, err error) {
	t.Helper()
	r = NewReader(src, offset, maxText)
	t.Cleanup(r.Close)
	var rec Record
	add := func(rest bool) {
		recs = append(recs, read{rec.Time / 1e9, rec.Stream.String(), rec.Partial, string(rec.Text), rec.Full, rec.Off, rec.End, rest})
	}
	for {
		if err = r.Next(&rec); err != nil {
			break
		}
		add(false)
	}
	if errors.Is(err, io.EOF) {
		err = nil
		if r.Rest(&rec) {
			add(true)
		}
	}
	return recs, r, err
}

func TestReader(t *testing.T) {
	long := strings.Repeat("x", 3000)
	tests := []struct {
		name string
		file string
		want []read
		bad  int64
		err  error
	}{
		{"empty", "", nil, 0, nil},
		{"lines", at(1) + " stdout F a\n" + at(2) + " stderr F \n" + at(3) + " stdout P b \r\n", []read{
			{1, "stdout", false, "a", 0, 0, 42, false}, {2, "stderr", false, "", 0, 42, 83, false}, {3, "stdout", true, "b \r", 0, 83, 127, false},
		}, 0, nil},
		{"zone and short fraction", "2026-01-01T02:00:00.5+02:00 stdout F x\n", []read{{1767225600, "stdout", false, "x", 0, 0, 39, false}}, 0, nil},
		{"tags", at(1) + " stdout P:more:tags a\n" + at(2) + " stdout F:p b\n" + at(3) + " stdout X c\n", []read{
			{1, "stdout", true, "a", 0, 0, 52, false}, {2, "stdout", false, "b", 0, 52, 96, false}, {3, "stdout", false, "c", 0, 96, 138, false},
		}, 0, nil},
		{"unterminated", at(1) + " stdout F a\n" + at(2) + " stdout F b", []read{
			{1, "stdout", false, "a", 0, 0, 42, false}, {2, "stdout", false, "b", 0, 42, 83, true},
		}, 0, nil},
		{"cut in the header", at(1) + " stdout F a\n" + at(2) + " std", []read{{1, "stdout", false, "a", 0, 0, 42, false}}, 0, nil},
		{"a broken line", at(1) + " stdout F a\n\x00\x00garbage\n" + at(2) + " stdin F b\n" + at(3) + " stdout F c\n", []read{
			{1, "stdout", false, "a", 0, 0, 42, false}, {3, "stdout", false, "c", 0, 93, 135, false},
		}, 2, nil},
		{"too long", at(1) + " stdout F " + long + "\n" + at(2) + " stdout F b\n", []read{
			{1, "stdout", false, long[:1000], 3000, 0, 3041, false}, {2, "stdout", false, "b", 0, 3041, 3083, false},
		}, 0, nil},
		{"docker", `{"log":"x\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}` + "\n", nil, 1, ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, src := range []io.Reader{strings.NewReader(tt.file), iotest.OneByteReader(strings.NewReader(tt.file)), iotest.DataErrReader(strings.NewReader(tt.file))} {
				got, r, err := readAll(t, src, 0, 1000)
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Error(d)
				}
				if r.Bad() != tt.bad {
					t.Errorf("%d bad lines, want %d", r.Bad(), tt.bad)
				}
			}
		})
	}
}

// A record far beyond the limit costs no more memory than the limit.
func TestReaderBoundsMemory(t *testing.T) {
	const size = 50 << 20
	src := io.MultiReader(strings.NewReader(at(1)+" stdout F "), io.LimitReader(endless{}, size), strings.NewReader("\n"+at(2)+" stdout F b\n"))
	r := NewReader(src, 7, 100<<10)
	defer r.Close()
	var rec Record
	if err := r.Next(&rec); err != nil || rec.Full != size || len(rec.Text) != 100<<10 || rec.Off != 7 || rec.End != 7+41+size {
		t.Errorf("%v: full %d, text %d, %d to %d", err, rec.Full, len(rec.Text), rec.Off, rec.End)
	}
	if err := r.Next(&rec); err != nil || string(rec.Text) != "b" || rec.Full != 0 {
		t.Errorf("%v, %+v", err, rec)
	}
	if cap(r.buf) > 400<<10 {
		t.Errorf("buffer of %d bytes", cap(r.buf))
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestReaderReportsSourceErrors(t *testing.T) {
	broken := errors.New("broken")
	src := io.MultiReader(strings.NewReader(at(1)+" stdout F a\n"+at(2)), iotest.ErrReader(broken))
	recs, _, err := readAll(t, src, 0, 1000)
	if !errors.Is(err, broken) || len(recs) != 1 {
		t.Errorf("%v after %d records", err, len(recs))
	}
}

func TestFingerprint(t *testing.T) {
	whole := at(1) + " stdout F a\n"
	id, ok := Fingerprint([]byte(whole))
	if !ok || id == 0 {
		t.Fatal("no fingerprint")
	}
	if more, ok := Fingerprint([]byte(whole + at(2) + " stdout F b\n")); !ok || more != id {
		t.Error("the file that has grown is another one")
	}
	if other, _ := Fingerprint([]byte(at(2) + " stdout F a\n")); other == id {
		t.Error("another file is the same")
	}
	if _, ok := Fingerprint([]byte(whole[:len(whole)-1])); ok {
		t.Error("half a record has a fingerprint")
	}
	if _, ok := Fingerprint([]byte("{\"log\":\"x\"}\n")); ok {
		t.Error("a file of another format has a fingerprint")
	}
	long := at(1) + " stdout P " + strings.Repeat("x", 300)
	a, ok1 := Fingerprint([]byte(long[:HeadBytes]))
	b, ok2 := Fingerprint([]byte(long + "yyy\n"))
	if !ok1 || !ok2 || a != b {
		t.Error("a file that begins with a long record changes")
	}
}

type joined struct {
	Sec    int64
	Stream string
	Text   string
	Full   int
	File   uint64
	Off    int64
}

func join(shared bool, maxText int, flush bool, files ...string) (out []joined) {
	j := Joiner{Max: maxText, Shared: shared}
	var line Line
	add := func() {
		out = append(out, joined{line.Time / 1e9, line.Stream.String(), string(line.Text), line.Full, line.File, line.Off})
	}
	for i, f := range files {
		j.File = uint64(i + 1)
		r := NewReader(strings.NewReader(f), 0, maxText)
		var rec Record
		for r.Next(&rec) == nil {
			if j.Add(&rec, &line) {
				add()
			}
		}
		r.Close()
	}
	for flush && j.Flush(&line) {
		add()
	}
	return out
}

// The shared cases are what the kubelet's ReadLogs was measured to make of such
// files.
func TestJoiner(t *testing.T) {
	mixed := at(1) + " stdout P OUT1-\n" + at(2) + " stderr F ERR\n" + at(3) + " stdout F OUT2\n"
	tests := []struct {
		name   string
		shared bool
		max    int
		files  []string
		want   []joined
	}{
		{"three parts", false, 100, []string{at(1) + " stdout P AAA\n" + at(2) + " stdout P BBB\n" + at(3) + " stdout F CCC\n"},
			[]joined{{1, "stdout", "AAABBBCCC", 0, 1, 0}}},
		{"streams apart", false, 100, []string{mixed}, []joined{{2, "stderr", "ERR", 0, 1, 46}, {1, "stdout", "OUT1-OUT2", 0, 1, 0}}},
		{"streams spliced", true, 100, []string{mixed}, []joined{{1, "stdout", "OUT1-ERR", 0, 1, 0}, {3, "stdout", "OUT2", 0, 1, 90}}},
		{"over a rotation", false, 100, []string{at(1) + " stdout P AAA\n", at(2) + " stdout F BBB\n"}, []joined{{1, "stdout", "AAABBB", 0, 1, 0}}},
		{"cut", false, 5, []string{at(1) + " stdout P AAA\n" + at(2) + " stdout P BBB\n" + at(3) + " stdout F CCC\n"},
			[]joined{{1, "stdout", "AAABB", 9, 1, 0}}},
		{"flushed by age", false, 100, []string{at(1) + " stderr P AAA\n" + at(2) + " stdout P BBB\n"},
			[]joined{{1, "stderr", "AAA", 0, 1, 0}, {2, "stdout", "BBB", 0, 1, 44}}},
		{"flushed by file", false, 100, []string{at(1) + " stdout F x\n" + at(2) + " stderr P AAA\n", at(3) + " stdout P BBB\n"},
			[]joined{{1, "stdout", "x", 0, 1, 0}, {2, "stderr", "AAA", 0, 1, 42}, {3, "stdout", "BBB", 0, 2, 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, join(tt.shared, tt.max, true, tt.files...)); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(at(1)+" stdout F a\n"+at(2)+" stderr P b\n"), 10, 3)
	f.Add([]byte("\x00\n"+at(1)+" stdout P \n"), 0, 1)
	f.Add([]byte(at(1)+" stdout F "+strings.Repeat("y", 5000)+"\n"), 100, 4096)
	f.Fuzz(func(t *testing.T, file []byte, maxText, chunk int) {
		maxText, chunk = maxText&0xffff, chunk&0xffff+1
		whole, r1, err1 := readAll(t, bytes.NewReader(file), 0, maxText)
		parts, r2, err2 := readAll(t, &chunked{bytes.NewReader(file), chunk}, 0, maxText)
		if d := cmp.Diff(whole, parts); d != "" || fmt.Sprint(err1) != fmt.Sprint(err2) || r1.Bad() != r2.Bad() {
			t.Fatalf("in chunks of %d: %s %v %v", chunk, d, err1, err2)
		}
		end := int64(0)
		for _, rec := range whole {
			if rec.Off < end || rec.End <= rec.Off || rec.End > int64(len(file)) || len(rec.Text) > maxText {
				t.Fatalf("record %+v after %d of %d", rec, end, len(file))
			}
			end = rec.End
			// Read again from where it begins, it is the first record.
			again, _, _ := readAll(t, bytes.NewReader(file[rec.Off:]), rec.Off, maxText)
			if len(again) == 0 || again[0] != rec {
				t.Fatalf("read again: %+v, was %+v", again, rec)
			}
		}
	})
}

// chunked gives at most n bytes at a time.
type chunked struct {
	src io.Reader
	n   int
}

func (c *chunked) Read(p []byte) (int, error) { return c.src.Read(p[:min(len(p), c.n)]) }

func BenchmarkReader(b *testing.B) {
	var file bytes.Buffer
	for i := range 10000 {
		fmt.Fprintf(&file, "%s stdout F %s %d\n", at(i), strings.Repeat("x", 100), i)
	}
	b.SetBytes(int64(file.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(bytes.NewReader(file.Bytes()), 0, 256<<10)
		j := Joiner{Max: 256 << 10}
		var rec Record
		var line Line
		for r.Next(&rec) == nil {
			j.Add(&rec, &line)
		}
		r.Close()
	}
}
