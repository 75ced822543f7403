package chunk

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// columnCase are values of one column and the node that they must become.
type columnCase struct {
	name  string
	value func(i int) string
	kind  byte
}

func columnCases() []columnCase {
	r := rand.New(rand.NewPCG(11, 12))
	base := time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC)
	at := func(i int) time.Time { return base.Add(time.Duration(i) * 1234567 * time.Microsecond) }
	timeFormat := func(f string) func(int) string {
		return func(i int) string { return at(i).Format(f) }
	}
	return []columnCase{
		{"const", func(int) string { return "same" }, nodeConst},
		{"int", func(i int) string { return fmt.Sprint(i * i * 31) }, nodeInt},
		{"fixint", func(i int) string { return fmt.Sprintf("%06d", i*37) }, nodeFixInt},
		{"digits", func(i int) string { return fmt.Sprintf("%0*d", 1+i%17, i%10) }, nodeDigits},
		{"hex", func(int) string { return fmt.Sprintf("%016x", r.Uint64()) }, nodeHex},
		{"repeated hex", func(i int) string { return fmt.Sprintf("%08x", uint32(i/3*7919)*2654435761) }, nodeHex},
		{"HEX", func(int) string { return fmt.Sprintf("%032X", r.Uint64()) }, nodeHexUpper},
		{"uuid", func(int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", r.Uint32(), r.Uint32()) }, nodeUUID},
		{"UUID", func(int) string { return fmt.Sprintf("%08X-00AF-4000-8000-%012X", r.Uint32(), r.Uint32()) }, nodeUUIDUpper},
		{"RFC 3339", timeFormat("2006-01-02T15:04:05.000000000Z07:00"), nodeTime},
		{"slashes", timeFormat("2006/01/02 15:04:05"), nodeTime},
		{"comma", timeFormat("2006-01-02 15:04:05,000"), nodeTime},
		{"zone", timeFormat("2006-01-02T15:04:05.000+01:00"), nodeTime},
		{"access log", timeFormat("02/Jan/2006:15:04:05"), nodeTime},
		{"clock", timeFormat("15:04:05.000000"), nodeTime},
		{"epoch", func(i int) string { return fmt.Sprint(at(i).Unix()) }, nodeTime},
		{"epoch ms", func(i int) string { return fmt.Sprint(at(i).UnixMilli()) }, nodeTime},
		{"epoch float", func(i int) string { return fmt.Sprintf("%d.%03d", at(i).Unix(), i) }, nodeTime},
		{"dict", func(i int) string { return []string{"alpha", "beta", "γ", ""}[i*i%7%4] }, nodeDict},
		{"dict of ids", func(i int) string {
			return []string{"alpha-6ba7b810", "beta-6ba7b811", "x"}[i*i%7%3]
		}, nodeDict},
		{"split", func(i int) string { return fmt.Sprintf("/api/v%d/user-%d?t=%dms", i%3, i*7919, i*31) }, nodeSplit},
		{"split with others", func(i int) string {
			if i%5 == 0 {
				return fmt.Sprintf("%*d\xff!", i%40, i)
			}
			return fmt.Sprintf("%s-%d", []string{"alpha", "beta"}[i%2], i*7919)
		}, nodeSplit},
		{"raw", func(int) string {
			b := make([]byte, 5+r.IntN(20))
			for i := range b {
				b[i] = "!@#$%^*~"[r.IntN(8)]
			}
			return string(b)
		}, nodeRaw},
	}
}

const caseRows = 200

// TestNodeKinds proves each kind of node: what the encoder chooses and that
// the reader gives it back, from the first row and from the middle.
func TestNodeKinds(t *testing.T) {
	times := make([]int64, caseRows)
	rows := make([]uint32, caseRows)
	base := time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC).UnixNano()
	for i := range times {
		times[i] = base + int64(i)*1234567000
		rows[i] = uint32(i)
	}
	for _, c := range columnCases() {
		var enc columnEncoder
		enc.reset(times, func(int, []uint32) []uint32 { return rows })
		vals := make([]string, caseRows)
		size := 0
		for i := range vals {
			vals[i] = c.value(i)
			size += len(vals[i])
		}
		enc.meta = append(enc.meta, 1, 1, 1, 0) // one shape: a text of one byte, one new column
		enc.text = append(enc.text, fieldMark)
		enc.putInts(enc.ints.alloc(caseRows))
		start := len(enc.meta)
		enc.column(0, vals)
		if kind := enc.meta[start]; kind != c.kind {
			t.Errorf("%s: node of kind %d, want %d", c.name, kind, c.kind)
		}
		meta, ids := enc.finish(nil, nil)
		var ints intsDecoder
		for _, from := range []int{0, 1, 77, caseRows - 1} {
			var tab table
			if err := tab.open(&ints, tableParts{meta: meta, text: enc.text, raw: enc.raw, ids: ids, data: enc.data}, caseRows, size, false); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			tab.skip(0, from)
			for i := from; i < caseRows; i++ {
				if got := tab.appendLine(nil, &tab.shapes[0], times[i], size); string(got) != vals[i] || tab.failed != nil {
					t.Fatalf("%s: row %d of %d: %q, want %q (%v)", c.name, i, from, got, vals[i], tab.failed)
				}
			}
		}
	}
}

// kindRows are lines that hold a column of every kind.
func kindRows() *Rows {
	rows := &Rows{}
	cases := columnCases()
	for i := range caseRows {
		var b bytes.Buffer
		for k, c := range cases {
			fmt.Fprintf(&b, `key%c="%s" `, 'a'+k, c.value(i))
		}
		rows.Stream = append(rows.Stream, uint32(i/100))
		rows.Timestamps = append(rows.Timestamps, time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC).UnixNano()+int64(i)*1234567000)
		rows.Lines = append(rows.Lines, b.String())
	}
	// Line 0xFF-free: the value with 0xFF goes through the pool as a whole line.
	return rows
}

// TestInts proves each kind, packing and plane codec of integer columns.
func TestInts(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	gen := func(n int, f func(i int) uint64) []uint64 {
		v := make([]uint64, n)
		for i := range v {
			v[i] = f(i)
		}
		return v
	}
	skewed := func(int) uint64 { return uint64(r.IntN(40) / 37 * r.IntN(9)) }
	cases := []struct {
		name  string
		v     []uint64
		kind  byte
		plane int // codec of the first plane, -1 for any
	}{
		{"one", []uint64{math.MaxUint64}, intsConst, -1},
		{"const", gen(1000, func(int) uint64 { return 42 }), intsConst, -1},
		{"few", gen(50, func(int) uint64 { return uint64(r.IntN(1000)) }), intsPlain, -1},
		{"few wide", gen(60, func(int) uint64 { return r.Uint64() }), intsPlain, -1},
		{"few counting", gen(50, func(i int) uint64 { return 1e12 + uint64(i)*17 }), intsDelta, -1},
		{"few of three", gen(100, func(i int) uint64 { return []uint64{5, 1e9, 1e15}[r.IntN(3)] }), intsDict, -1},
		{"counting", gen(4000, func(i int) uint64 { return uint64(i) * 3 }), intsDelta, -1},
		{"counting down", gen(4000, func(i int) uint64 { return uint64(9000 - i) }), intsDelta, -1},
		{"few walking", walk(r, 150), intsZigzag, -1},
		{"walking", walk(r, 4000), intsDelta, -1},
		{"bytes", gen(4000, func(int) uint64 { return uint64(r.IntN(256)) }), intsPlain, planeRaw},
		{"wide", gen(4000, func(int) uint64 { return r.Uint64() }), intsPlain, planeRaw},
		{"small", gen(4000, func(int) uint64 { return uint64(r.IntN(16)) }), intsPlain, planeHuff4X},
		{"small and short", gen(300, func(int) uint64 { return uint64(r.IntN(16)) }), intsPlain, planeHuff1X},
		{"skewed", gen(4000, skewed), intsPlain, planeFSE},
		{"low byte constant", gen(4000, func(int) uint64 { return uint64(r.IntN(5000)) << 8 }), intsPlain, planeSame},
		{"of two hundred", gen(4000, func(int) uint64 { return uint64(r.IntN(200)) * 0x9E3779B97F4A7C15 }), intsDict, -1},
		{"largest number", gen(MaxRows, func(int) uint64 { return uint64(r.IntN(100)) }), intsPlain, planeHuff4X},
	}
	var enc intsEncoder
	var dec intsDecoder
	for _, c := range cases {
		enc.reset()
		desc, data := enc.encode(nil, nil, c.v, true)
		desc2, data2 := enc.encode(nil, nil, c.v, true)
		if kind := desc[0] & 15; kind != c.kind {
			t.Errorf("%s: kind %d, want %d", c.name, kind, c.kind)
		}
		if c.plane >= 0 && !slices.Contains(desc[1:min(len(desc), 14)], byte(c.plane)) {
			t.Errorf("%s: planes % x, want codec %d", c.name, desc, c.plane)
		}
		if c.kind != intsConst && (desc2[0] != intsRef || len(data2) != 0) {
			t.Errorf("%s: repetition is not a reference: % x", c.name, desc2)
		}
		dec.reset(2 * len(c.v))
		a, b := reader{buf: append(desc, desc2...)}, reader{buf: append(data, data2...)}
		for range 2 {
			got := dec.decode(&a, &b, len(c.v))
			if a.err != nil || b.err != nil || !slices.Equal(got.v, c.v) {
				t.Errorf("%s: read back wrong: %v %v", c.name, a.err, b.err)
			}
		}
		a.done()
		b.done()
		if a.err != nil || b.err != nil {
			t.Errorf("%s: %v %v", c.name, a.err, b.err)
		}
	}
}

// walk steps up and down by little, now and then by much.
func walk(r *rand.Rand, n int) []uint64 {
	v := make([]uint64, n)
	x := uint64(1 << 40)
	for i := range v {
		x += uint64(r.IntN(9)) - 4
		switch i % 1000 {
		case 500:
			x += 1 << 30
		case 700:
			x -= 1 << 31
		}
		v[i] = x
	}
	return v
}

func TestBits(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for b := 1; b <= 64; b++ {
		for _, n := range []int{1, 2, 7, 8, 63, 64, 65, 191} {
			v := make([]uint64, n)
			for i := range v {
				v[i] = r.Uint64() >> (64 - b)
			}
			packed := appendBits(nil, v, b)
			if len(packed) != bitsLen(n, b) {
				t.Fatalf("%d x %d bits: %d bytes, want %d", n, b, len(packed), bitsLen(n, b))
			}
			got := make([]uint64, n)
			unpackBits(got, packed, b)
			if !slices.Equal(got, v) {
				t.Fatalf("%d x %d bits: %x, want %x", n, b, got, v)
			}
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		layout string
		good   []string
		bad    []string
	}{
		{"%Y-%m-%dT%H:%M:%S.%3Z",
			[]string{"2026-11-22T10:15:30.123Z", "0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "2024-02-29T12:00:00.001Z", "2000-02-29T00:00:00.000Z", "1969-12-31T23:59:59.999Z"},
			[]string{"2026-02-29T00:00:00.000Z", "2100-02-29T00:00:00.000Z", "2026-11-22T24:00:00.000Z", "2026-11-22T10:60:00.000Z", "2026-11-22T10:15:60.000Z", "2026-13-01T00:00:00.000Z", "2026-00-01T00:00:00.000Z", "2026-11-00T00:00:00.000Z", "2026-11-22T10:15:30.123", "2026-11-22T10:15:30.123Zx", "2026-11-22 10:15:30.123Z", ""}},
		{"%d/%b/%Y:%H:%M:%S", []string{"22/Nov/2026:10:15:30", "31/Dec/1999:23:59:59"}, []string{"22/nov/2026:10:15:30", "31/Nov/2026:10:15:30", "22/No"}},
		{"%H:%M:%S,%6", []string{"10:15:30,123456", "00:00:00,000000"}, []string{"25:15:30,123456", "10:15:30.123456"}},
		{"%s.%9", []string{"1763806530.123456789", "9223372034.999999999"}, []string{"0763806530.123456789", "176380653.123456789", "9999999999.000000000"}},
	} {
		l, ok := parseLayout(c.layout)
		if !ok {
			t.Fatalf("%s does not parse", c.layout)
		}
		for _, s := range c.good {
			v, ok := l.parse(s)
			got, ok2 := l.append(nil, v)
			if !ok || !ok2 || string(got) != s {
				t.Errorf("%s: %q becomes %q", c.layout, s, got)
			}
			for _, ts := range []int64{0, -1, math.MinInt64, math.MaxInt64, 1795000000_000000000} {
				if back := l.value(l.delta(v, ts), ts); back != v {
					t.Errorf("%s: %q at %d: value %d becomes %d", c.layout, s, ts, v, back)
				}
			}
		}
		for _, s := range c.bad {
			if _, ok := l.parse(s); ok {
				t.Errorf("%s takes %q", c.layout, s)
			}
		}
	}
	for _, bad := range []string{"", "x", "%", "%Y-%m-%d", "%H:%M", "%Y-%H:%M:%S", "%s %H:%M:%S", "%H:%M:%S%0", "%H%H:%M:%S", "%m%b%Y%d%H%M%S", "%q%H%M%S", string(make([]byte, maxLayout+1))} {
		if _, ok := parseLayout(bad); ok {
			t.Errorf("layout %q is accepted", bad)
		}
	}
	if l, ok := parseLayout("100%% %H:%M:%S"); !ok {
		t.Error("%% is not accepted")
	} else if got, _ := l.append(nil, 61); string(got) != "100% 00:01:01" {
		t.Errorf("%%%% gives %q", got)
	}
}

// TestCivil compares the calendar with package time.
func TestCivil(t *testing.T) {
	for d := int64(minDay); d <= maxDay; d += 17 {
		y, m, md := civil(d)
		want := time.Unix(d*daySeconds, 0).UTC()
		if y != want.Year() || m != int(want.Month()) || md != want.Day() || days(y, m, md) != d {
			t.Fatalf("day %d is %d-%d-%d, want %s", d, y, m, md, want)
		}
	}
}
