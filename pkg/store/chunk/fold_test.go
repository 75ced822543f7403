package chunk

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

// TestAnyNeverMisses decodes the rows that may hold one of a few pieces of lines,
// as they are and in any case, and compares with a scan of all lines.
func TestAnyNeverMisses(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	dec := must(NewDecoder())
	wanted, given, rowsSeen := 0, 0, 0
	for k := range corpus.NumKinds {
		rows := familyRows(corpus.Kind(k), 64<<10)
		// Letters that are k and s in another case, at the end of words that look
		// like identifiers without them, too.
		for i := range 40 {
			line := &rows.Lines[i*rows.Len()/40]
			*line = [...]string{"Bro\u212aen pipe", "connection clo\u017fed", "deadbeef\u017fkull", "cafe\u212a", "feedfacedeadbeef\u212aabcdef"}[i%5] + *line
		}
		b := must(OpenBytes(mustEncode(t, EncoderOptions{}, rows)))
		for round := range 250 {
			c := Choice{AnyFold: round%2 == 0}
			var re []string
			for range 1 + r.IntN(3) {
				l := rows.Lines[r.IntN(rows.Len())]
				if round%10 < 3 {
					l = rows.Lines[r.IntN(40)*rows.Len()/40]
				}
				from := r.IntN(len(l))
				if round%10 < 3 {
					from = r.IntN(min(len(l), 12))
				}
				needle := l[from : from+r.IntN(min(len(l)-from, 30)+1)]
				needle = strings.ToValidUTF8(needle, "")
				if c.AnyFold {
					needle = strings.NewReplacer("\u212a", "K", "\u017f", "S").Replace(needle)
					if r.IntN(2) == 0 {
						needle = strings.ToUpper(needle)
					}
				}
				c.Any = append(c.Any, needle)
				re = append(re, regexp.QuoteMeta(needle))
			}
			expr := strings.Join(re, "|")
			if c.AnyFold {
				expr = "(?i)" + expr
			}
			has := regexp.MustCompile(expr).MatchString
			if round%5 == 0 {
				c.Needles = []string{rows.Lines[r.IntN(rows.Len())][:5]}
			}
			none := ""
			if round%3 == 0 { // single bytes and pieces of all kinds
				l := rows.Lines[r.IntN(rows.Len())]
				at := r.IntN(len(l))
				none = l[at : at+1+r.IntN(min(len(l)-at, 9))]
				c.None = []string{none, "\x00nowhere"}
			}
			from := r.IntN(rows.Len())
			to := from + r.IntN(rows.Len()-from+1)
			var got Rows
			if err := b.DecodeSome(dec, &got, from, to, &c); err != nil {
				t.Fatal(err)
			}
			n := 0
			for i := from; i < to; i++ {
				same := n < got.Len() && got.Lines[n] == rows.Lines[i] && got.Timestamps[n] == rows.Timestamps[i] && got.Stream[n] == rows.Stream[i]
				if has(rows.Lines[i]) && (none == "" || !strings.Contains(rows.Lines[i], none)) && containsAll(rows.Lines[i], c.Needles) {
					wanted++
					if !same {
						t.Fatalf("%s: any of %q, fold %v, with %q, none of %q: row %d is missing: %q", corpus.Kind(k), c.Any, c.AnyFold, c.Needles, c.None, i, rows.Lines[i])
					}
				}
				if same {
					n++
				}
			}
			if n != got.Len() || len(got.Lines) != n {
				t.Fatalf("any of %q: %d rows too many", c.Any, got.Len()-n)
			}
			given += n
			rowsSeen += to - from
		}
	}
	t.Logf("%d rows wanted, %d of %d given", wanted, given, rowsSeen)
	if wanted == 0 || given-wanted > (rowsSeen-wanted)*3/4 {
		t.Error("almost nothing is left out")
	}
}

// TestAnyLeavesOut sees that words decide, in any case.
func TestAnyLeavesOut(t *testing.T) {
	var lines []string
	for i := range 400 {
		lines = append(lines, "level=info msg=ready n="+strings.Repeat("1", i%7))
	}
	lines[70], lines[300] = "ERROR: connection Refused by peer", "level=info msg=\"Timed out\""
	rows := oneStream(lines)
	b := must(OpenBytes(mustEncode(t, EncoderOptions{}, rows)))
	for _, tt := range []struct {
		any  []string
		fold bool
		want int
	}{
		{[]string{"refused"}, true, 1},
		{[]string{"refused"}, false, 0},
		{[]string{"timed out", "REFUSED"}, true, 2},
		{[]string{"Timed", "Refused"}, false, 2},
		{[]string{"nowhere", "neither"}, true, 0},
		{[]string{"Refused", "by"}, true, 400}, // nothing is known of short words
		{nil, true, 400},
	} {
		var got Rows
		if err := b.DecodeSome(must(NewDecoder()), &got, 0, 400, &Choice{Any: tt.any, AnyFold: tt.fold}); err != nil {
			t.Fatal(err)
		}
		if got.Len() != tt.want {
			t.Errorf("%q, fold %v: %d rows, want %d", tt.any, tt.fold, got.Len(), tt.want)
		}
	}
}

// TestNoneLeavesOut sees that what is certainly in a line decides.
func TestNoneLeavesOut(t *testing.T) {
	rows := familyRows(corpus.Logfmt, 256<<10)
	b := must(OpenBytes(mustEncode(t, EncoderOptions{}, rows)))
	none := []string{"level=info", "level=debug", "GET"}
	want := 0
	for _, l := range rows.Lines {
		if !strings.Contains(l, none[0]) && !strings.Contains(l, none[1]) && !strings.Contains(l, none[2]) {
			want++
		}
	}
	var got Rows
	if err := b.DecodeSome(must(NewDecoder()), &got, 0, rows.Len(), &Choice{None: []string{"info", "debug", "GET"}}); err != nil {
		t.Fatal(err)
	}
	if want == 0 || got.Len() < want || got.Len() > want+want/4 {
		t.Errorf("%d of %d rows are left, %d have none of %q", got.Len(), rows.Len(), want, none)
	}
}
