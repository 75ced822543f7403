package nodefiles

import (
	"testing"
	"time"
)

func TestParseTimestamp(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-01T00:00:01.100000000Z x":       "2026-01-01T00:00:01.1Z",
		"2026-01-01T00:00:01Z ":                  "2026-01-01T00:00:01Z",
		"2026-01-01T02:00:01.5+02:00 x":          "2026-01-01T00:00:01.5Z",
		"2025-12-31T18:30:01.123456789-05:30 x":  "2026-01-01T00:00:01.123456789Z",
		"2024-02-29T12:00:00.000000001Z x":       "2024-02-29T12:00:00.000000001Z",
		"1969-12-31T23:59:59.999999999Z x":       "1969-12-31T23:59:59.999999999Z",
		"2025-02-29T12:00:00Z x":                 "",
		"2026-13-01T00:00:01Z x":                 "",
		"2026-01-01T00:00:01.Z x":                "",
		"2026-01-01T00:00:01.1234567890Z x":      "",
		"2026-01-01T00:00:01Zx":                  "",
		"2026-01-01T00:00:01":                    "",
		"failed to open log file \"/var/log\": ": "",
		"":                                       "",
	} {
		ns, n, ok := ParseTimestamp([]byte(in))
		got := ""
		if ok {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
			if in[n-1] != ' ' {
				t.Errorf("%q: used %d bytes", in, n)
			}
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzParseTimestamp holds it against the standard library.
func FuzzParseTimestamp(f *testing.F) {
	f.Add("2026-01-01T00:00:01.100000000Z text")
	f.Add("2026-01-01T00:00:01+02:00 ")
	f.Fuzz(func(t *testing.T, s string) {
		ns, n, ok := ParseTimestamp([]byte(s))
		if !ok {
			return
		}
		want, err := time.Parse(time.RFC3339Nano, s[:n-1])
		if err != nil || want.UnixNano() != ns {
			t.Errorf("%q: got %d, time.Parse says %v, %v", s[:n-1], ns, want, err)
		}
	})
}
