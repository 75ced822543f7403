package chunk

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
	"github.com/prometheus/prometheus/model/labels"
)

var seedFlag = flag.Uint64("seed", 1, "seed of random tests")

// oneStream makes rows of one stream, a second apart.
func oneStream(lines []string) *Rows {
	rows := &Rows{}
	for i, l := range lines {
		rows.Stream = append(rows.Stream, 1)
		rows.Timestamps = append(rows.Timestamps, corpus.Start+int64(i)*1e9)
		rows.Lines = append(rows.Lines, l)
	}
	return rows
}

// repeat makes n lines out of a format with one number.
func repeat(n int, format string, arg func(i int) any) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, arg(i))
	}
	return out
}

// TestHostileLines: whatever a program prints comes back.
func TestHostileLines(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 1))
	num := func(i int) any { return i * 7919 }
	pad := func(n int) []string { return repeat(n, "worker %d done", num) }
	fields := strings.Repeat("a=1 ", 30000)
	cases := map[string][]string{
		"empty":               make([]string, 100),
		"single":              {"x"},
		"invalid UTF-8":       append(pad(50), "\xc3\x28 \xe2\x82", "\xed\xa0\x80"),
		"NUL":                 append(pad(50), "\x00", "a\x00b=\x00"),
		"0xFF":                append(pad(50), "\xff", "a\xffb", "worker \xff done"),
		"only 0xFF":           repeat(64, "\xff%d\xff", num),
		"line ends":           append(pad(50), "\r", "\n", "a\r\nb", "worker 1\n done"),
		"200 kB":              append(pad(50), strings.Repeat("0123456789abcdef", 200<<10/16)),
		"30k fields":          append(pad(50), fields, fields),
		"many fields often":   repeat(40, strings.Repeat("k %[1]d ", 300), num),
		"bad dates":           repeat(64, "2026-02-%d 25:61:61 x", func(i int) any { return 28 + i%5 }),
		"short dates":         repeat(64, "2026-11-2%d 10:15:0", func(i int) any { return i % 10 }),
		"leap second":         repeat(64, "at 23:59:%d", func(i int) any { return 58 + i%3 }),
		"year 0":              repeat(64, "0000-01-01T00:00:%02d", func(i int) any { return i % 60 }),
		"year 9999":           repeat(64, "9999-12-31T23:59:%02d", func(i int) any { return i % 60 }),
		"year 9999, ns":       repeat(64, "9999-12-31T23:59:%02d.123456789Z", func(i int) any { return i % 60 }),
		"leading zeros":       repeat(64, "%05d", num),
		"zeros, all widths":   repeat(64, "%s", func(i int) any { return strings.Repeat("0", i%19) + "7" }),
		"19 digits":           repeat(64, "%d", func(i int) any { return uint64(math.MaxInt64) - uint64(i) }),
		"20 digits":           repeat(64, "%d", func(i int) any { return uint64(math.MaxUint64) - uint64(i) }),
		"mixed-case hex":      repeat(64, "id %s", func(i int) any { return []string{"deadBEEF01", "DEADBEEF02", "deadbeef03"}[i%3] }),
		"upper hex":           repeat(64, "id %016X", num),
		"upper uuid":          repeat(64, "id 6BA7B810-9DAD-11D1-80B4-00C04FD4%04X", func(i int) any { return i }),
		"uuid in a word":      repeat(64, "pod-6ba7b810-9dad-11d1-80b4-00c04fd4%04xyz", func(i int) any { return i }),
		"odd hex":             repeat(64, "id %017x", num),
		"long hex":            repeat(64, "id %0128x", num),
		"longer hex":          repeat(64, "id %0130x", num),
		"units":               repeat(64, "took %dms, %[1]dh, %[1]dabc, abc%[1]d, xyz%[1]d", num),
		"quotes":              repeat(64, `"a\"b %d" "\\" "" "`, num),
		"open quote":          repeat(64, `say "hello %d`, num),
		"repeated key":        repeat(64, `a=%d a=%[1]d b="%[1]d" {"a":%[1]d,"a":"x"}`, num),
		"key without value":   repeat(64, `a= b=%d "c": "d":`, num),
		"dictionary":          repeat(200, "%s", func(i int) any { return []string{"", "x y", "\xfe", "longer value"}[i%4] }),
		"float":               repeat(64, "%v", func(i int) any { return float64(i) * 1.1 }),
		"negative":            repeat(64, "%d", func(i int) any { return -i }),
		"epoch":               repeat(64, "1763806%d 1763806530.%[1]d", func(i int) any { return 100 + i }),
		"epoch ms":            repeat(64, "17638065%05d", func(i int) any { return 10000 + i }),
		"all bytes":           allBytes(),
		"random bytes":        randomLines(r, 200, 256),
		"random letters":      randomLines(r, 400, 3),
		"percent":             repeat(64, "2026-11-22T10:15:%02d%%Z", func(i int) any { return i % 60 }),
		"utf-8 around digits": repeat(64, "größe%dµs", num),
	}
	for name, lines := range cases {
		for _, plain := range []bool{false, true} {
			rows := oneStream(lines)
			data := mustEncode(t, EncoderOptions{Plain: plain}, rows)
			if d := diffRows(rows, mustDecode(t, data)); d != "" {
				t.Errorf("%s, plain %v: %s", name, plain, d)
			}
			checkSearch(t, r, data, lines)
		}
	}
}

func allBytes() []string {
	var out []string
	for i := range 256 {
		out = append(out, string([]byte{byte(i)}), "value "+string([]byte{byte(i)})+" end")
	}
	return out
}

func randomLines(r *rand.Rand, n, alphabet int) []string {
	out := make([]string, n)
	for i := range out {
		b := make([]byte, r.IntN(40))
		for j := range b {
			b[j] = byte(r.IntN(alphabet))
			if alphabet < 10 {
				b[j] += 'a'
			}
		}
		out[i] = string(b)
	}
	return out
}

// checkSearch looks for random pieces of lines.
func checkSearch(t *testing.T, r *rand.Rand, data []byte, lines []string) {
	t.Helper()
	b, err := OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		l := lines[r.IntN(len(lines))]
		from := r.IntN(len(l) + 1)
		needle := l[from : from+r.IntN(min(len(l)-from, 80)+1)]
		if ok, err := b.MayContain([]string{needle, ""}); !ok || err != nil {
			t.Fatalf("%q of line %.200q: %v %v", needle, l, ok, err)
		}
	}
}

// mutate changes a line as a careless program or a damaged disk would.
func mutate(r *rand.Rand, l string) string {
	b := []byte(l)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			return "x"
		}
		i := r.IntN(len(b))
		switch r.IntN(7) {
		case 0:
			b[i] = byte(r.IntN(256))
		case 1:
			b = slices.Delete(b, i, min(len(b), i+r.IntN(8)))
		case 2:
			b = slices.Insert(b, i, []byte("\xff\x00\" =0\\\n")[r.IntN(8)])
		case 3:
			b[i] ^= 0x20 // other case
		case 4:
			b = b[:i]
		case 5:
			b = slices.Insert(b, i, b[i:min(len(b), i+20)]...)
		case 6:
			b[i] = byte('0' + r.IntN(10))
		}
	}
	return string(b)
}

// TestRandomMutations mixes families, mutated lines, hostile times and
// metadata; the seed is in the failure.
func TestRandomMutations(t *testing.T) {
	rounds := 120
	if testing.Short() {
		rounds = 20
	}
	e := NewEncoder(EncoderOptions{Level: 1})
	dec, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		seed := *seedFlag + uint64(round)
		rows := randomRows(seed)
		data, err := e.Encode(nil, rows)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		b, err := OpenBytes(data)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		var got Rows
		if err := b.Decode(dec, &got); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if d := diffRows(rows, &got); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		r := rand.New(rand.NewPCG(seed, 9))
		checkSearch(t, r, data, rows.Lines)
		from := r.IntN(rows.Len() + 1)
		to := from + r.IntN(rows.Len()-from+1)
		if err := b.DecodeRange(dec, &got, from, to); err != nil {
			t.Fatalf("seed %d: rows %d to %d: %v", seed, from, to, err)
		}
		if d := diffRows(cutRows(rows, from, to), &got); d != "" {
			t.Fatalf("seed %d: rows %d to %d: %s", seed, from, to, d)
		}
	}
}

func cutRows(r *Rows, from, to int) *Rows {
	out := &Rows{Stream: r.Stream[from:to], Timestamps: r.Timestamps[from:to], Lines: r.Lines[from:to]}
	if len(r.Metadata) > 0 {
		out.Metadata = r.Metadata[from:to]
	}
	return out
}

func randomRows(seed uint64) *Rows {
	r := rand.New(rand.NewPCG(seed, 77))
	g := corpus.New(seed)
	rows := &Rows{}
	kinds := 1 + r.IntN(3)
	for s := range 1 + r.IntN(5) {
		n := 1 + r.IntN(400)
		times := make([]int64, n)
		at, step := g.Now()+r.Int64N(1e9), []int64{1, 1000, 1e6, 1e9, 3600e9}[r.IntN(5)]
		for i := range times {
			at += r.Int64N(100) * step
			times[i] = at
			if r.IntN(400) == 0 {
				times[i] = int64(r.Uint64())
			}
		}
		slices.Sort(times)
		for i := range times {
			l := string(g.AppendLine(nil, corpus.Kind((int(seed)+r.IntN(kinds))%corpus.NumKinds), times[i]))
			if r.IntN(8) == 0 {
				l = mutate(r, l)
			}
			rows.Stream = append(rows.Stream, uint32(s*s))
			rows.Timestamps = append(rows.Timestamps, times[i])
			rows.Lines = append(rows.Lines, l)
		}
	}
	if r.IntN(2) == 0 {
		rows.Metadata = randomMetadata(r, rows.Len())
	}
	return rows
}

func randomMetadata(r *rand.Rand, n int) []labels.Labels {
	out := make([]labels.Labels, n)
	g := corpus.New(r.Uint64())
	for i := range out {
		b := labels.NewScratchBuilder(4)
		if r.IntN(4) > 0 {
			b.Add("container_id", "containerd://4f0c"+strings.Repeat("ab", r.IntN(2)))
			b.Add("pod_uid", fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd4%04x", r.IntN(5)))
		}
		switch r.IntN(5) {
		case 0:
			b.Add("trace_id", fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
		case 1:
			b.Add("x\xff", mutate(r, g.Line(corpus.Java)))
			b.Add("y", "")
		}
		out[i] = b.Labels()
	}
	return out
}

// TestTimes: any int64 is a time.
func TestTimes(t *testing.T) {
	for _, times := range [][]int64{
		{math.MinInt64}, {math.MaxInt64}, {0, 0, 0}, {math.MinInt64, math.MaxInt64}, {-1, 0, 1},
		{math.MinInt64, -1, 0, 1e9, 2e9, math.MaxInt64}, {5e9, 6e9, 7e9}, {1000, 2000, 4000}, {1e6, 3e6},
	} {
		rows := oneStream(make([]string, len(times)))
		rows.Timestamps = times
		data := mustEncode(t, EncoderOptions{}, rows)
		if d := diffRows(rows, mustDecode(t, data)); d != "" {
			t.Errorf("%v: %s", times, d)
		}
	}
}

// TestEncodeRefuses lists what does not fit into a block.
func TestEncodeRefuses(t *testing.T) {
	big := strings.Repeat("x", MaxRawBytes/2+1)
	unsorted := oneStream([]string{"a", "b"})
	unsorted.Timestamps[1] = 0
	streams := oneStream([]string{"a", "b"})
	streams.Stream[0] = 9
	short := oneStream([]string{"a", "b"})
	short.Lines = short.Lines[:1]
	for name, c := range map[string]struct {
		rows *Rows
		want string
	}{
		"no rows":         {&Rows{}, "rows"},
		"too many rows":   {oneStream(make([]string, MaxRows+1)), "rows"},
		"too many bytes":  {oneStream([]string{big, big}), "line bytes"},
		"times back":      {unsorted, "sorted"},
		"streams back":    {streams, "sorted"},
		"uneven columns":  {short, "different lengths"},
		"metadata bytes":  {withMetadata("v", big), "metadata bytes"},
		"metadata in row": {withMetadata(slices.Repeat([]string{"v"}, 2*(maxFields+1))...), "metadata pairs"},
	} {
		dst, err := NewEncoder(EncoderOptions{}).Encode([]byte("kept"), c.rows)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "sorted" && c.want != "different lengths" && !errors.As(err, new(*LimitError)) {
			t.Errorf("%s: %T", name, err)
		}
		if (c.want == "sorted") != errors.Is(err, ErrUnsorted) {
			t.Errorf("%s: %T", name, err)
		}
		if string(dst) != "kept" {
			t.Errorf("%s: dst changed to %d bytes", name, len(dst))
		}
	}
}

func withMetadata(pairs ...string) *Rows {
	rows := oneStream([]string{"a"})
	b := labels.NewScratchBuilder(len(pairs) / 2)
	for i := 0; i < len(pairs); i += 2 {
		b.Add(pairs[i], pairs[i+1])
	}
	rows.Metadata = []labels.Labels{b.Labels()}
	return rows
}

// TestWorstCases: lines without any structure cost hardly more than plain text.
func TestWorstCases(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the quick brown fox jumps over the lazy dog while nobody understands why documentation went missing and retries hide errors until queues overflow again")
	random := func() []byte {
		b := make([]byte, 120)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	prose := func(n int) string {
		p := make([]string, n)
		for i := range p {
			p[i] = words[r.IntN(len(words))]
		}
		return strings.Join(p, " ")
	}
	for name, f := range map[string]func() string{
		"random":  func() string { return string(random()) },
		"base64":  func() string { return base64.StdEncoding.EncodeToString(random()) },
		"prose":   func() string { return prose(5 + r.IntN(20)) },
		"10 kB":   func() string { return prose(1700) },
		"floats":  func() string { return fmt.Sprint(r.Float64(), r.NormFloat64()) },
		"quotes":  func() string { return strings.Repeat(`"`, r.IntN(20)) },
		"numbers": func() string { return fmt.Sprint(r.IntN(100)) },
		"keys": func() string {
			s := "{"
			for range 6 {
				s += fmt.Sprintf(`"%c%c%c":%d,`, 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(5), r.IntN(10000))
			}
			return s + "}"
		},
	} {
		var lines []string
		for n := 0; n < 256<<10 && len(lines) < 20000; n += len(lines[len(lines)-1]) {
			lines = append(lines, f())
		}
		rows := oneStream(lines)
		data := mustEncode(t, EncoderOptions{}, rows)
		plain := mustEncode(t, EncoderOptions{Plain: true}, rows)
		if d := diffRows(rows, mustDecode(t, data)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(data)*100 > len(plain)*108 {
			t.Errorf("%s: %d bytes, plain %d", name, len(data), len(plain))
		}
	}
}

// TestEncoderForgets: a huge line does not leave its memory behind.
func TestEncoderForgets(t *testing.T) {
	e, dec := NewEncoder(EncoderOptions{Level: 1}), must(NewDecoder())
	for _, line := range []string{strings.Repeat("0123456789abcdef!", MaxRawBytes/17), "small"} {
		b := must(OpenBytes(must(e.Encode(nil, oneStream([]string{line})))))
		var rows Rows
		if err := b.Decode(dec, &rows); err != nil || rows.Lines[0] != line {
			t.Fatal(err)
		}
	}
	if n := cap(e.text) + cap(e.parts[SectionRaw]); n > 2*keepBytes {
		t.Errorf("encoder keeps %d bytes", n)
	}
	if n := cap(dec.lines) + cap(dec.raw); n > 2*keepBytes {
		t.Errorf("decoder keeps %d bytes", n)
	}
}

// TestManyNames: a sender that makes up metadata names costs space, not blocks.
func TestManyNames(t *testing.T) {
	for name, pairs := range map[string]func(row int) (n int, key func(i int) string){
		"ever new names": func(row int) (int, func(int) string) {
			return 40, func(i int) string { return fmt.Sprintf("k%d_%d", row, i) }
		},
		"wide rows":   func(int) (int, func(int) string) { return 3000, func(i int) string { return fmt.Sprintf("k%d", i) } },
		"empty names": func(row int) (int, func(int) string) { return row % 300, func(int) string { return "" } },
	} {
		rows := oneStream(make([]string, 600))
		rows.Metadata = make([]labels.Labels, rows.Len())
		for i := range rows.Metadata {
			n, key := pairs(i)
			b := labels.NewScratchBuilder(n)
			if i%2 == 0 {
				for k := range n {
					b.Add(key(k), strings.Repeat("v", i%3))
				}
			}
			rows.Metadata[i] = b.Labels()
		}
		data := mustEncode(t, EncoderOptions{Level: 1}, rows)
		if d := diffRows(rows, mustDecode(t, data)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		var part Rows
		b := must(OpenBytes(data))
		if err := b.DecodeRange(must(NewDecoder()), &part, 100, 200); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := diffRows(cutRows(rows, 100, 200), &part); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
