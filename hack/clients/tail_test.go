package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// frame is what a tail sends.
type frame struct {
	Streams       streams
	Dropped       []json.RawMessage `json:"dropped_entries"`
	EncodingFlags []string          `json:"encodingFlags"`
}

// dial opens a tail as Grafana's browser side does.
func (c *collector) dial(params map[string]string, o *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	c.t.Helper()
	q := url.Values{}
	for k, v := range params {
		q.Set(k, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return websocket.Dial(ctx, "ws"+strings.TrimPrefix(c.url, "http")+"/loki/api/v1/tail?"+q.Encode(), o)
}

// tail opens a tail that the test closes at its end.
func (c *collector) tail(params map[string]string, categories bool) *websocket.Conn {
	c.t.Helper()
	o := &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://grafana.example"}}}
	if categories {
		o.HTTPHeader.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	}
	conn, _, err := c.dial(params, o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// read returns the next n entries and the frames they came in.
func read(t *testing.T, conn *websocket.Conn, n int) (lines []string, raw []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(lines) < n {
		kind, text, err := conn.Read(ctx)
		if err != nil || kind != websocket.MessageText {
			t.Fatalf("after %q: %v (%v)", lines, err, kind)
		}
		raw = append(raw, string(text))
		var f struct {
			Streams []struct{ Values [][]json.RawMessage }
		}
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, s := range f.Streams {
			if len(s.Values) != 1 {
				t.Errorf("a stream object holds %d entries, Loki sends one: %s", len(s.Values), text)
			}
			for _, v := range s.Values {
				var line string
				if err := json.Unmarshal(v[1], &line); err != nil {
					t.Fatal(err)
				}
				lines = append(lines, line)
			}
		}
	}
	return lines, raw
}

func TestTail(t *testing.T) {
	c := start(t)
	web := map[string]string{"app": "web"}
	past := time.Now().Add(-time.Minute).Truncate(time.Second)
	c.pushJSON(web, past, "old 1", "old 2", "old 3", "passed over")
	c.pushJSON(map[string]string{"app": "other"}, past, "old other")

	// The newest three of the past in the order of time, then what comes.
	conn := c.tail(map[string]string{"query": `{app="web"} |= "old"`, "limit": "2"}, false)
	if got, _ := read(t, conn, 2); fmt.Sprint(got) != "[old 2 old 3]" {
		t.Errorf("past: %q", got)
	}
	c.pushJSON(web, time.Now(), "not this", "old in name only")
	c.pushJSON(map[string]string{"app": "other"}, time.Now(), "old other")
	c.pushJSON(web, time.Now(), "old too")
	if got, raw := read(t, conn, 2); fmt.Sprint(got) != "[old in name only old too]" {
		t.Errorf("live: %q", raw)
	}

	// Both ends answer pings.
	ctx, cancel := context.WithTimeout(conn.CloseRead(context.Background()), patience)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "enough"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
}

// TestTailCategories wants three parts of an entry, as Grafana's backend does.
func TestTailCategories(t *testing.T) {
	c := start(t)
	c.post("/loki/api/v1/push", "application/json", []byte(`{"streams":[{"stream":{"app":"web"},"values":[["`+
		strconv.FormatInt(time.Now().UnixNano(), 10)+`","status=500",{"trace":"t1"}]]}]}`), nil, http.StatusNoContent)
	conn := c.tail(map[string]string{"query": `{app="web"} | logfmt`}, true)
	_, raw := read(t, conn, 1)
	var f frame
	if err := json.Unmarshal([]byte(raw[0]), &f); err != nil {
		t.Fatalf("%v in %s", err, raw[0])
	}
	e := f.Streams.entries()[0]
	sameLabels(t, "stream", e.stream, map[string]string{"app": "web", "service_name": "web"})
	sameLabels(t, "metadata", e.metadata, map[string]string{"trace": "t1"}, "detected_level")
	sameLabels(t, "parsed", e.parsed, map[string]string{"status": "500"})
	if fmt.Sprint(f.EncodingFlags) != "[categorize-labels]" || len(f.Dropped) != 0 {
		t.Errorf("flags %v, dropped %s", f.EncodingFlags, f.Dropped)
	}
}

// TestTailStart asks for less of the past and more waiting.
func TestTailStart(t *testing.T) {
	c := start(t)
	web := map[string]string{"app": "web"}
	now := time.Now()
	c.pushJSON(web, now.Add(-2*time.Hour), "two hours ago")
	c.pushJSON(web, now.Add(-time.Minute), "a minute ago")
	c.pushJSON(web, now.Add(-time.Second), "a second ago")
	for _, tc := range []struct {
		name, start, delay string
		want               []string
	}{
		{"an hour, if nothing is said", "", "", []string{"a minute ago", "a second ago"}},
		{"ns", strconv.FormatInt(now.Add(-30*time.Second).UnixNano(), 10), "0", []string{"a second ago"}},
		{"RFC 3339, delayed", now.Add(-3 * time.Hour).Format(time.RFC3339Nano), "1",
			[]string{"two hours ago", "a minute ago", "a second ago"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			params := map[string]string{"query": `{app="web"}`}
			if tc.start != "" {
				params["start"] = tc.start
			}
			if tc.delay != "" {
				params["delay_for"] = tc.delay
			}
			conn := (&collector{t, c.url}).tail(params, false)
			if got, _ := read(t, conn, len(tc.want)); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestTailRefusals: what is wrong with the request is said before the protocol
// is switched, so that every client can show it.
func TestTailRefusals(t *testing.T) {
	c := start(t)
	for _, tc := range []struct {
		name   string
		params map[string]string
		want   string
	}{
		{"no query", nil, ""},
		{"no LogQL", map[string]string{"query": `{app=`}, "parse error"},
		{"a metric query", map[string]string{"query": `rate({app="web"}[1m])`}, ""},
		{"too long a delay", map[string]string{"query": `{app="web"}`, "delay_for": "6"}, "delay_for can't be greater than 5"},
		{"a delay that is no number", map[string]string{"query": `{app="web"}`, "delay_for": "x"}, ""},
		{"a limit that is no number", map[string]string{"query": `{app="web"}`, "limit": "x"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, resp, err := (&collector{t, c.url}).dial(tc.params, nil)
			if err == nil {
				_ = conn.CloseNow()
				t.Fatal("accepted")
			}
			if resp == nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), tc.want) {
				t.Errorf("%s %q, want 400 and %q", resp.Status, body, tc.want)
			}
		})
	}
}

// TestTailHeartbeat waits for the server's own ping on a tail without entries:
// it keeps proxies from cutting the connection.
func TestTailHeartbeat(t *testing.T) {
	c := start(t)
	ping := make(chan struct{}, 1)
	conn, _, err := c.dial(map[string]string{"query": `{app="silent"}`}, &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool {
			select {
			case ping <- struct{}{}:
			default:
			}
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := conn.CloseRead(context.Background())
	select {
	case <-ping:
	case <-ctx.Done():
		t.Errorf("the tail ended: %v", ctx.Err())
	case <-time.After(patience):
		t.Error("no ping")
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
}
