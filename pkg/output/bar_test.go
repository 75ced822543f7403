package output

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestBar draws at its pace, within the width, and leaves nothing behind.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	b := newBar(&out, Terminal{Interactive: true, Width: 60}, func() time.Time { return now })
	b.Draw(0.1, "too soon")
	now = now.Add(10 * time.Second)
	b.Draw(0.25, "1,000 lines")
	b.Draw(0.3, "too soon again")
	now = now.Add(time.Minute)
	b.Draw(0.5, strings.Repeat("long ", 20))
	b.Clear()
	b.Clear()
	want := "\r\x1b[K[=======                     ]  25 %  1,000 lines, 30s left" +
		"\r\x1b[K  50 %  long long long long long long long long long long l" +
		"\r\x1b[K"
	if got := out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	out.Reset()
	b = newBar(&out, Terminal{}, func() time.Time { return now })
	now = now.Add(time.Hour)
	b.Draw(0.5, "nobody watches")
	b.Clear()
	var none *Bar
	none.Draw(0.5, "")
	none.Clear()
	if out.Len() > 0 {
		t.Errorf("it drew %q", out.String())
	}
}

func TestRoundDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1400 * time.Millisecond:                "1s",
		200*time.Second + 3*time.Second:        "3m20s",
		5 * time.Minute:                        "5m",
		2*time.Hour + 5*time.Minute + 10e9:     "2h5m",
		3*time.Hour + 4*time.Second:            "3h",
		26*time.Hour + 30*time.Minute + 29*1e9: "26h30m",
	} {
		if got := roundDuration(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
