package podlogs

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// readAll splits a body and copies what it finds.
func readAll(t testing.TB, src io.Reader, limit int) (lines []record) {
	t.Helper()
	l := newLineReader(src, limit)
	defer l.close()
	var line rawLine
	for {
		err := l.fill()
		for l.scan(&line) {
			lines = append(lines, recordOf(&line, false))
		}
		if errors.Is(err, io.EOF) {
			if l.tail(&line) {
				lines = append(lines, recordOf(&line, true))
			}
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		l.rest()
	}
}

const stamp = "2026-01-01T00:00:01.000000000Z "

func TestLinesAreTheSameHoweverTheyArrive(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	body := stamp + "one\n" + stamp + "\n" + "no stamp\n" + stamp + long + "\n" + stamp + strings.Repeat("y", 200_000) + "\n" + stamp + "half"
	want := readAll(t, strings.NewReader(body), 100_000)
	if len(want) != 6 || want[0].text != "one" || want[1].text != "" || want[2].stamped || want[3].text != long ||
		len(want[4].text) != 100_000 || want[4].full != 200_000 || !want[5].open {
		t.Fatalf("unexpected lines: %d", len(want))
	}
	for name, src := range map[string]io.Reader{
		"byte by byte": iotest.OneByteReader(strings.NewReader(body)),
		"halves":       iotest.HalfReader(strings.NewReader(body)),
		"data and end": iotest.DataErrReader(strings.NewReader(body)),
	} {
		if diff := cmp.Diff(want, readAll(t, src, 100_000), cmp.AllowUnexported(record{})); diff != "" {
			t.Errorf("%s: %.300s", name, diff)
		}
	}
}

// FuzzLines compares the splitter with a naive one, in chunks of any size.
func FuzzLines(f *testing.F) {
	f.Add([]byte(stamp+"a\nb\n\n"+stamp+"c"), uint8(3))
	f.Add(bytes.Repeat([]byte("z"), 5000), uint8(200))
	f.Fuzz(func(t *testing.T, body []byte, chunk uint8) {
		const limit = 1024
		var want []string
		rest := body
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			want = append(want, naive(rest[:i], limit))
			rest = rest[i+1:]
		}
		if len(rest) > 0 {
			want = append(want, naive(rest, limit))
		}
		var got []string
		for _, r := range readAll(t, &chunks{body, int(chunk) + 1}, limit) {
			got = append(got, r.text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func naive(line []byte, limit int) string {
	_, n, _ := nodefiles.ParseTimestamp(line)
	line = line[n:]
	return string(line[:min(len(line), limit)])
}

// chunks reads at most n bytes at a time.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.n)], c.b)
	c.b = c.b[n:]
	return n, nil
}

func BenchmarkLines(b *testing.B) {
	body := []byte(strings.Repeat(stamp+"level=info msg=\"a request was served\" path=/api/v1/things status=200\n", 1000))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		l := newLineReader(bytes.NewReader(body), 256<<10)
		var line rawLine
		for l.fill() == nil {
			for l.scan(&line) {
			}
		}
		l.close()
	}
}
