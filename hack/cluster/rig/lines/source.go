package lines

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode/utf8"
)

const marker = "LSQ/"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Mix says what kinds of lines a [Source] makes.
type Mix struct {
	// Lengths of whole lines in bytes, taken at random. A line whose head is
	// longer has no payload.
	Lengths []int
	// Binary is the share (0 to 1) of payloads of arbitrary bytes instead of
	// text with some multi-byte characters. A newline, and a carriage return at
	// the end, never occur: no runtime would deliver them.
	Binary float64
	// Disguised is the share of lines that begin with a misleading text.
	Disguised float64
}

// Plain is short text only, for tests that look at something else.
var Plain = Mix{Lengths: []int{0, 60, 200}}

// Wild is everything that has broken log readers: no payload at all, lines
// around containerd's record size of 16 KiB and far beyond it, binary bytes,
// disguises. Long lines are rare, so that a run stays affordable.
var Wild = Mix{
	Lengths:   append(repeat(30, 0, 60, 200, 1000), 16384-2, 16384-1, 16384, 16384+1, 16384+2, 100_000),
	Binary:    0.1,
	Disguised: 0.1,
}

func repeat(times int, values ...int) []int {
	var out []int
	for range times {
		out = append(out, values...)
	}
	return out
}

var disguises = []string{
	"2026-01-01T00:00:01.100000000Z ",
	"2026-01-01T00:00:01+05:30 stdout F ",
	"unable to retrieve container logs for containerd://0123456789abcdef ",
	"failed to create fsnotify watcher: too many open files ",
	"failed to open log file \"/var/log/pods/a_b_c/app/0.log\": no such file ",
	"rpc error: code = NotFound desc = an error occurred ",
	"context canceled ",
	"--- gap: 12 s, rotated_away --- ",
	"{\"level\":\"info\",\"msg\":\"x\"} ",
	"\x1b[31mred\x1b[0m ",
	"\t  ",
}

// Source makes the lines of one run. It is not safe for concurrent use.
type Source struct {
	run  string
	mix  Mix
	rnd  *rand.Rand
	next int64
	buf  []byte
}

// NewSource returns a source of the run, whose lines depend only on run, mix
// and seed.
func NewSource(run string, mix Mix, seed uint64) *Source {
	if strings.ContainsAny(run, "/ \n") || run == "" {
		panic(fmt.Sprintf("lines: bad run name %q", run))
	}
	return &Source{run: run, mix: mix, rnd: rand.New(rand.NewPCG(seed, uint64(crc32.ChecksumIEEE([]byte(run)))))}
}

// Run is the name given to [NewSource].
func (s *Source) Run() string { return s.run }

// Count is how many lines have been made; their numbers are 0 to Count-1.
func (s *Source) Count() int64 { return s.next }

// Next returns the next line, without newline.
func (s *Source) Next() string {
	disguise := ""
	if s.rnd.Float64() < s.mix.Disguised {
		disguise = disguises[s.rnd.IntN(len(disguises))]
	}
	n := 0
	if len(s.mix.Lengths) > 0 {
		head := len(disguise) + len(marker) + len(s.run) + len("/") + digits(s.next) + len("/01234567 ")
		n = max(0, s.mix.Lengths[s.rnd.IntN(len(s.mix.Lengths))]-head)
	}
	payload := s.payload(n)
	line := Format(s.run, s.next, disguise, payload)
	s.next++
	return line
}

func digits(n int64) int { return len(strconv.FormatInt(n, 10)) }

// Format makes one line.
func Format(run string, seq int64, disguise string, payload []byte) string {
	var b strings.Builder
	b.Grow(len(disguise) + len(run) + len(payload) + 40)
	b.WriteString(disguise)
	b.WriteString(marker)
	b.WriteString(run)
	b.WriteByte('/')
	b.WriteString(strconv.FormatInt(seq, 10))
	fmt.Fprintf(&b, "/%08x ", checksum([]byte(disguise), payload))
	b.Write(payload)
	return b.String()
}

func (s *Source) payload(n int) []byte {
	b := s.buf[:0]
	if s.rnd.Float64() < s.mix.Binary {
		for range n {
			c := byte(s.rnd.IntN(256))
			if c == '\n' {
				c = 0
			}
			b = append(b, c)
		}
		if n > 0 && b[n-1] == '\r' {
			b[n-1] = 'r'
		}
	} else {
		const words = "the quick brown fox j\u00fcmps \u00f6ver 13 lazy dogs \u2713 \u65e5\u672c "
		for len(b) < n {
			rest := n - len(b)
			if rest >= len(words) {
				b = append(b, words...)
				continue
			}
			b = append(b, bytes.Repeat([]byte{'.'}, rest)...)
		}
	}
	s.buf = b
	return b
}

// Line is what a line says about itself.
type Line struct {
	Run    string
	Seq    int64
	Intact bool // the checksum holds
}

// Parse finds the number in a line as it came back from a query. ok is false for
// lines of other origin, and for pieces of ours that have lost the number.
func Parse(text string) (l Line, ok bool) {
	at := strings.Index(text, marker)
	if at < 0 {
		return Line{}, false
	}
	head, payload, found := strings.Cut(text[at+len(marker):], " ")
	parts := strings.Split(head, "/")
	if !found || len(parts) != 3 {
		return Line{}, false
	}
	seq, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || seq < 0 {
		return Line{}, false
	}
	sum, err := strconv.ParseUint(parts[2], 16, 32)
	if err != nil {
		return Line{}, false
	}
	intact := uint32(sum) == checksum([]byte(text[:at]), []byte(payload))
	return Line{Run: parts[0], Seq: seq, Intact: intact}, true
}

func checksum(disguise, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(canonical(disguise), castagnoli), castagnoli, canonical(payload))
}

// canonical replaces each run of invalid bytes and U+FFFD by one U+FFFD.
func canonical(b []byte) []byte {
	if utf8.Valid(b) && !bytes.ContainsRune(b, utf8.RuneError) {
		return b
	}
	out := make([]byte, 0, len(b))
	bad := false
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError {
			out = append(out, b[:n]...)
		} else if !bad {
			out = utf8.AppendRune(out, utf8.RuneError)
		}
		bad = r == utf8.RuneError
		b = b[n:]
	}
	return out
}
