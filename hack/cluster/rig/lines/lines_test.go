package lines

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestLinesParseAndSurviveJSON(t *testing.T) {
	for _, mix := range []Mix{Plain, Wild, {}} {
		src := NewSource("web-0.app", mix, 7)
		for want := range int64(2000) {
			text := src.Next()
			if strings.ContainsRune(text, '\n') {
				t.Fatalf("line %d contains a newline", want)
			}
			encoded, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			var decoded string
			if err := json.Unmarshal(encoded, &decoded); err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{text, decoded, strings.ToValidUTF8(text, "\ufffd")} {
				l, ok := Parse(form)
				if !ok || l.Run != "web-0.app" || l.Seq != want || !l.Intact {
					t.Fatalf("line %d: %+v, %v from %.120q", want, l, ok, form)
				}
			}
		}
		if src.Count() != 2000 {
			t.Errorf("count %d", src.Count())
		}
	}
}

func TestSourceIsDeterministic(t *testing.T) {
	a, b, c := NewSource("r", Wild, 1), NewSource("r", Wild, 1), NewSource("r", Wild, 2)
	differ := false
	for range 200 {
		x := a.Next()
		if x != b.Next() {
			t.Fatal("same seed, other line")
		}
		differ = differ || x != c.Next()
	}
	if !differ {
		t.Error("the seed has no effect")
	}
}

func TestWildCoversTheRecordLimit(t *testing.T) {
	var below, at, above bool
	src := NewSource("web-0.app.0.out", Wild, 3)
	for range 20000 {
		n := len(src.Next())
		below = below || n == 16382 || n == 16383
		at = at || n == 16384
		above = above || n == 16385 || n == 16386
	}
	if !below || !at || !above {
		t.Errorf("line lengths around 16384: below %v, equal %v, above %v", below, at, above)
	}
}

func TestCheck(t *testing.T) {
	t0 := time.Unix(1000, 0)
	times := make([]time.Time, 5)
	for i := range times {
		times[i] = t0.Add(time.Duration(i) * time.Second)
	}
	line := func(seq int64) string { return Format("r", seq, "", []byte("x")) }
	all := func(seqs ...int64) []string {
		var out []string
		for _, s := range seqs {
			out = append(out, line(s))
		}
		return out
	}
	tests := []struct {
		name string
		in   []string
		gaps []Gap
		want string // beginning of the report, "" when all is well
	}{
		{"complete", all(0, 1, 2, 3, 4), nil, ""},
		{"missing", all(0, 3, 4), nil, "L1 missing:\n  r/1..2 of 5\n"},
		{"nothing", nil, nil, "L1 missing:\n  r/0..4 of 5\n"},
		{"missing last", all(0, 1, 2, 3), nil, "L1 missing:\n  r/4 of 5\n"},
		{"excused", all(0, 3, 4), []Gap{{Run: "r", From: times[0], To: times[3]}}, ""},
		{"gap elsewhere", all(0, 3, 4), []Gap{{Run: "r", From: times[3], To: times[4]}}, "L1 missing:\n  r/1..2 of 5\nL5 gap"},
		{"gap of another run", all(0, 3, 4), []Gap{{Run: "q"}}, "L1 missing"},
		{"gap without loss", all(0, 1, 2, 3, 4), []Gap{{Run: "r"}}, "L5 gap without loss"},
		{"doubled", all(0, 1, 1, 2, 3, 4), nil, "L2 doubled:\n  r/1: 2 times\n"},
		{"disorder", all(0, 2, 1, 3, 4), nil, "L3 out of order:\n  r/1\n"},
		{"damaged", append(all(0, 1, 2, 3), line(4)+"y"), nil, "L4 damaged:\n  r/4\n"},
		{"foreign", append(all(0, 1, 2, 3, 4), "context canceled"), nil, "not ours:\n  \"context canceled\""},
		{"half a line", append(all(0, 1, 2, 3, 4), "LSQ/r/4/"), nil, "not ours"},
		{"never written", all(0, 1, 2, 3, 4, 5), nil, "not ours:\n  r/5, only 5"},
		{"absurd number", append(all(0, 1, 2, 3, 4), line(1<<40)), nil, "not ours"},
		{"unknown run", append(all(0, 1, 2, 3, 4), Format("q", 0, "", nil)), nil, "not ours:\n  run q"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCheck()
			for _, s := range tt.in {
				c.Add(s)
			}
			for _, g := range tt.gaps {
				c.AddGap(g)
			}
			rep := c.Report([]Expect{{Run: "r", Lines: 5, Times: times}})
			if rep.OK() != (tt.want == "") || !strings.HasPrefix(rep.String(), tt.want) {
				t.Errorf("OK %v, report:\n%s\nwant:\n%s", rep.OK(), rep, tt.want)
			}
			complete := len(rep.Missing) == 0 && rep.Excused == 0
			if got := c.Complete([]Expect{{Run: "r", Lines: 5}}); got != complete {
				t.Errorf("Complete = %v, missing %v", got, rep.Missing)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("LSQ/r/0/00000000 ")
	f.Add("LSQ/r/-1/00000000 x")
	f.Add("xLSQ/a/b/c d")
	f.Add(Format("web.app", 12, "context canceled ", []byte("\xff\x00")))
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := Parse(s)
		if ok && (l.Seq < 0 || strings.ContainsAny(l.Run, "/ ")) {
			t.Errorf("%+v from %q", l, s)
		}
	})
}
