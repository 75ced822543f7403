package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func noEnv(string) string { return "" }

func lines(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code, err := run(t.Context(), append([]string{"-rate", "0", "-id", "pod-a"}, args...), noEnv, nil, &out, io.Discard); code != 0 || err != nil {
		t.Fatalf("loggen %v: code %d, %v", args, code, err)
	}
	return out.String()
}

func TestEveryFormatVerifies(t *testing.T) {
	for _, name := range formatNames() {
		t.Run(name, func(t *testing.T) {
			text := lines(t, "-format", name, "-count", "500", "-pad", "20", "-errors", "0.3")
			r, err := verify(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if !r.ok() || len(r.writers["pod-a"].seen) != 500 {
				t.Errorf("%s", r)
			}
			if plain := r.plain > 0; plain != (name == "java") {
				t.Errorf("%d lines without a number", r.plain)
			}
			if name == "json" {
				for line := range strings.Lines(text) {
					if !json.Valid([]byte(line)) {
						t.Fatalf("not JSON: %s", line)
					}
				}
			}
		})
	}
}

func TestVerifyFinds(t *testing.T) {
	good := strings.SplitAfter(strings.TrimSuffix(lines(t, "-count", "30", "-format", "logfmt"), "\n"), "\n")
	for _, tc := range []struct {
		name, want string
		change     func([]string) []string
	}{
		{"reordered", "all in order", func(l []string) []string { l[0], l[1] = l[1], l[0]; return l }},
		{"one missing", "missing 11", func(l []string) []string { return append(l[:10], l[11:]...) }},
		{"some missing", "missing 6..8, 20", func(l []string) []string { return append(append(l[:5], l[8:19]...), l[20:]...) }},
		{"doubled", "doubled [3]", func(l []string) []string { return append(l, l[2]) }},
		{"damaged", "1 damaged", func(l []string) []string { l[4] = "x" + l[4][1:]; return l }},
		{"empty", "NOT in order", func([]string) []string { return nil }},
		{"only others", "0 writers, 0 numbered lines, 2 other lines", func([]string) []string { return []string{"hello\n", "seq=1 crc=0\n"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			copied := append([]string(nil), good...)
			copied[len(copied)-1] += "\n"
			var out bytes.Buffer
			code, err := run(t.Context(), []string{"-verify"}, noEnv, strings.NewReader(strings.Join(tc.change(copied), "")), &out, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), tc.want) {
				t.Errorf("got %q, want %q in it", out.String(), tc.want)
			}
			if want := strings.Contains(out.String(), "all in order"); (code == 0) != want {
				t.Errorf("exit code %d with %q", code, out.String())
			}
		})
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{2, 50, 1000} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second-time.Millisecond)
			var out bytes.Buffer
			if _, err := run(ctx, []string{"-rate", fmt.Sprint(rate), "-id", "x"}, noEnv, nil, &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			cancel()
			got, want := float64(strings.Count(out.String(), "\n")), rate*10
			if got < want*0.98-1 || got > want*1.02+1 {
				t.Errorf("rate %v: %v lines in 10 s", rate, got)
			}
		}
	})
}

func TestHoldWaitsForTheSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		code, err := run(ctx, []string{"-rate", "0", "-count", "3", "-hold", "-exit", "7", "-id", "x"}, noEnv, nil, io.Discard, io.Discard)
		if code != 0 || err != nil || time.Since(begin) != time.Hour {
			t.Errorf("code %d, %v after %v", code, err, time.Since(begin))
		}
	})
	code, err := run(t.Context(), []string{"-rate", "0", "-count", "3", "-exit", "7", "-id", "x"}, noEnv, nil, io.Discard, io.Discard)
	if code != 7 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
}

func TestEnvironmentAndErrors(t *testing.T) {
	env := func(values map[string]string) func(string) string {
		return func(name string) string { return values[name] }
	}
	o, err := parse([]string{"-rate", "9"}, env(map[string]string{"RATE": "5", "FORMAT": "json", "HOLD": "true", "ID": "p"}), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rate != 9 || o.format != "json" || !o.hold || o.id != "p" {
		t.Errorf("got %+v", o)
	}
	for _, tc := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{[]string{"-format", "xml"}, nil, "have access, java, json, logfmt, text"},
		{[]string{"-rate", "-1", "-errors", "2"}, nil, "-errors 2"},
		{[]string{"-id", "a b"}, nil, "would break the line"},
		{[]string{"x"}, nil, "unexpected argument"},
		{nil, map[string]string{"COUNT": "many"}, "environment variable COUNT"},
	} {
		if _, err := parse(tc.args, env(tc.env), io.Discard); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v %v: got %v, want %q", tc.args, tc.env, err, tc.want)
		}
	}
}

// Whatever the text before them, the fields that were appended are found again,
// and a changed text is noticed.
func FuzzFields(f *testing.F) {
	f.Add("plain text", "pod-1", uint64(1), false)
	f.Add(`{"msg":"x crc= seq=1 id="`, "pod-1", uint64(18446744073709551615), true)
	f.Add(` id=a seq=1 crc=00000000 {"crc":"`, "", uint64(0), false)
	f.Fuzz(func(t *testing.T, body, id string, seq uint64, json bool) {
		if strings.ContainsAny(body, "\r\n") || strings.ContainsAny(id, " \t\r\n\"\\=") {
			t.Skip("never written")
		}
		line := appendFields([]byte(body), json, id, seq)
		gotID, gotSeq, intact, ok := parseLine(line)
		if gotID != id || gotSeq != seq || !intact || !ok {
			t.Fatalf("%q: id %q, seq %d, intact %v, ok %v", line, gotID, gotSeq, intact, ok)
		}
		if body != "" {
			line[0] ^= 1
			if _, _, intact, ok := parseLine(line); ok && intact {
				t.Fatalf("%q passes although it was changed", line)
			}
		}
	})
}
