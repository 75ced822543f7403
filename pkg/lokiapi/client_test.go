package lokiapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// recorder answers every request with one body and remembers the request.
type recorder struct {
	code    int
	header  http.Header
	body    string
	request string // "GET /path?query"
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.request = req.Method + " " + req.URL.RequestURI()
	for k, v := range r.header {
		w.Header()[k] = v
	}
	w.WriteHeader(r.code)
	fmt.Fprint(w, r.body) //nolint:errcheck // the client would notice
}

// TestClientCalls checks what each method sends and what it reads out of Loki's answer.
func TestClientCalls(t *testing.T) {
	start, end := time.Unix(100, 0), time.Unix(200, 5e8)
	meta := MetadataRequest{Query: `{a="b"}`, Start: start, End: end}
	fields := FieldsRequest{Query: `{a="b"} | json`, Start: start, End: end, LineLimit: 7, Limit: 9}
	for _, tt := range []struct {
		name    string
		answer  recorder
		call    func(context.Context, *Client) (any, error)
		request string
		want    string // of the result, as %+v
		err     string
	}{
		{
			name:    "stats",
			answer:  recorder{body: `{"streams":1,"chunks":2,"bytes":3,"entries":4}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.IndexStats(ctx, meta) },
			request: "GET /base/loki/api/v1/index/stats?end=200500000000&query=%7Ba%3D%22b%22%7D&start=100000000000",
			want:    "{Streams:1 Chunks:2 Bytes:3 Entries:4}",
		},
		{
			name:   "volume",
			answer: recorder{body: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"app":""},"value":[200.5,"3"]}],"stats":{}}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.Volume(ctx, MetadataRequest{Query: "{}", TargetLabels: []string{"app", "pod"}, AggregateBy: "labels", Limit: 5})
			},
			request: "GET /base/loki/api/v1/index/volume?aggregateBy=labels&limit=5&query=%7B%7D&targetLabels=app%2Cpod",
			want:    "[{Labels:{} Points:[{Time:200500 Value:3}]}]",
		},
		{
			name:   "volume range",
			answer: recorder{body: `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"app":"x"},"values":[[100,"3"],[160,"4"]]}]}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.VolumeRange(ctx, MetadataRequest{Query: "{}", Step: time.Minute})
			},
			request: "GET /base/loki/api/v1/index/volume_range?query=%7B%7D&step=60",
			want:    `[{Labels:{app="x"} Points:[{Time:100000 Value:3} {Time:160000 Value:4}]}]`,
		},
		{
			name:    "detected labels",
			answer:  recorder{body: `{"detectedLabels":[{"label":"app","cardinality":3}]}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.DetectedLabels(ctx, MetadataRequest{}) },
			request: "GET /base/loki/api/v1/detected_labels",
			want:    "[{Label:app Cardinality:3}]",
		},
		{
			name: "detected fields",
			answer: recorder{body: `{"fields":[{"label":"d","type":"duration","cardinality":2,"parsers":["json"],"jsonPath":["a","d"]},` +
				`{"label":"t","type":"string","cardinality":1,"parsers":null}],"limit":1000}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.DetectedFields(ctx, fields) },
			request: "GET /base/loki/api/v1/detected_fields?end=200500000000&field_limit=9&limit=9&line_limit=7&query=%7Ba%3D%22b%22%7D+%7C+json&start=100000000000",
			want:    "[{Label:d Type:duration Cardinality:2 Parsers:[json] JSONPath:[a d]} {Label:t Type:string Cardinality:1 Parsers:[] JSONPath:[]}]",
		},
		{
			name:   "field values",
			answer: recorder{body: `{"values":["x","y"],"limit":1000}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.DetectedFieldValues(ctx, "a/b", FieldsRequest{Query: `{a="b"}`})
			},
			request: "GET /base/loki/api/v1/detected_field/a%2Fb/values?query=%7Ba%3D%22b%22%7D",
			want:    "[x y]",
		},
		{
			name:   "patterns",
			answer: recorder{body: `{"status":"success","data":[{"pattern":"GET <_>","level":"info","samples":[[10,2],[20,3]]}]}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				p, err := c.Patterns(ctx, RangeRequest{Query: `{a="b"}`, Start: start, Step: 10 * time.Second, Limit: 3})
				return fmt.Sprint(p, p[0].Total()), err
			},
			request: "GET /base/loki/api/v1/patterns?query=%7Ba%3D%22b%22%7D&start=100000000000&step=10",
			want:    "[{GET <_> info [{10 2} {20 3}]}] 5",
		},
		{
			name:    "patterns off",
			answer:  recorder{code: 404, body: "404 page not found\n"},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.Patterns(ctx, RangeRequest{Query: "{}"}) },
			request: "GET /base/loki/api/v1/patterns?query=%7B%7D",
			err:     "answered 404: 404 page not found",
		},
		{
			name:    "format",
			answer:  recorder{body: `{"status":"success","data":"{a=\"b\"}"}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.FormatQuery(ctx, `{a = "b"}`) },
			request: "GET /base/loki/api/v1/format_query?query=%7Ba+%3D+%22b%22%7D",
			want:    `{a="b"}`,
		},
		{
			name:    "format refused",
			answer:  recorder{code: 400, body: `{"status":"invalid-query","error":"parse error at line 1, col 1"}`},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.FormatQuery(ctx, `}`) },
			request: "GET /base/loki/api/v1/format_query?query=%7D",
			err:     "parse error at line 1, col 1",
		},
		{
			name:    "create a delete",
			answer:  recorder{code: 204, header: http.Header{DeleteIDHeader: {"d61d15c1"}}},
			call:    func(ctx context.Context, c *Client) (any, error) { return c.CreateDelete(ctx, `{a="b"}`, start, end) },
			request: "POST /base/loki/api/v1/delete?end=1970-01-01T00%3A03%3A20.5Z&query=%7Ba%3D%22b%22%7D&start=1970-01-01T00%3A01%3A40Z",
			want:    "d61d15c1",
		},
		{
			name: "list deletes",
			answer: recorder{body: `[{"request_id":"d61d15c1","start_time":1591616227,"end_time":1795331874.945,` +
				`"query":"{a=\"b\"}","status":"received","created_at":1795331875,"user_id":""}]`},
			call: func(ctx context.Context, c *Client) (any, error) {
				list, err := c.Deletes(ctx)
				d := list[0]
				return fmt.Sprintf("%s %d %d %s", d.ID, d.Start.Time().UnixMilli(), d.End.Time().UnixMilli(), d.Status), err
			},
			request: "GET /base/loki/api/v1/delete",
			want:    "d61d15c1 1591616227000 1795331874945 received",
		},
		{
			name:    "cancel a delete",
			answer:  recorder{code: 204},
			call:    func(ctx context.Context, c *Client) (any, error) { return nil, c.CancelDelete(ctx, "x", true) },
			request: "DELETE /base/loki/api/v1/delete?force=true&request_id=x",
			want:    "<nil>",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.answer.code == 0 {
				tt.answer.code = 200
			}
			srv := httptest.NewServer(&tt.answer)
			defer srv.Close()
			got, err := tt.call(t.Context(), &Client{HTTP: srv.Client(), BaseURL: srv.URL + "/base/"})
			if tt.answer.request != tt.request {
				t.Errorf("sent\n%s, want\n%s", tt.answer.request, tt.request)
			}
			if tt.err != "" {
				if err == nil || !strings.HasSuffix(err.Error(), tt.err) {
					t.Fatalf("error %v, want …%s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if text := fmt.Sprintf("%+v", got); text != tt.want {
				t.Errorf("read\n%s, want\n%s", text, tt.want)
			}
		})
	}
}

// TestFormatQueryTyped tells a query that cannot be read from a server that cannot answer.
func TestFormatQueryTyped(t *testing.T) {
	for _, tt := range []struct {
		answer recorder
		typed  bool
	}{
		{recorder{code: 400, body: `{"status":"invalid-query","error":"x"}`}, true},
		{recorder{code: 400, body: `proxy says no`}, false},
		{recorder{code: 503, body: `{"error":"x"}`}, false},
	} {
		srv := httptest.NewServer(&tt.answer)
		_, err := (&Client{HTTP: srv.Client(), BaseURL: srv.URL}).FormatQuery(t.Context(), "}")
		srv.Close()
		var format *QueryFormatError
		var status *StatusError
		if errors.As(err, &format) != tt.typed || errors.As(err, &status) == tt.typed {
			t.Errorf("%d %s: %v", tt.answer.code, tt.answer.body, err)
		}
	}
}
