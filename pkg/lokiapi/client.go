package lokiapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Client asks a server that speaks Loki's HTTP API. It is safe for concurrent
// use. Reads are GET requests throughout: the API server's service proxy wants
// the right "create" for anything else.
type Client struct {
	// HTTP sends the requests; nil means http.DefaultClient. Its Timeout must
	// be 0 if tails are used: the context bounds the others.
	HTTP *http.Client
	// BaseURL is what stands before /loki/api/v1, without a slash at its end.
	// It may have a path, such as that of a service proxy.
	BaseURL string
	// Header is added to every request (X-Scope-OrgID, …). May be nil.
	Header http.Header
	// Warned is told what the server says about the answer of a lookup of labels,
	// series or volumes, such as that a replica did not answer. May be nil. Queries
	// have their warnings in the answer.
	Warned func(text string)
}

// StatusError is an answer with another status than 2xx.
type StatusError struct {
	Code int
	// Body is the text of the answer, trimmed and cut to a readable length.
	Body string
	// URL is what was asked, without its parameters.
	URL string
}

func (e *StatusError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("%s answered %d %s", e.URL, e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("%s answered %d: %s", e.URL, e.Code, e.Body)
}

// RangeRequest asks for a span of time. Zero fields are left to the server.
type RangeRequest struct {
	Query      string
	Start, End time.Time
	// Step is the distance of a metric query's points, Interval the least
	// distance of a log query's entries.
	Step, Interval time.Duration
	Limit          int
	Direction      model.Direction
}

// values encodes the request. Times go as nanoseconds, which every version of
// Loki reads.
func (r RangeRequest) values() url.Values {
	v := url.Values{"query": {r.Query}, "direction": {r.Direction.String()}}
	setTime(v, "start", r.Start)
	setTime(v, "end", r.End)
	setDuration(v, "step", r.Step)
	setDuration(v, "interval", r.Interval)
	if r.Limit > 0 {
		v.Set("limit", strconv.Itoa(r.Limit))
	}
	return v
}

func setTime(v url.Values, key string, t time.Time) {
	if !t.IsZero() {
		v.Set(key, formatNanos(t.UnixNano()))
	}
}

// formatNanos pads to eleven digits: Loki reads up to ten as seconds.
func formatNanos(ns int64) string { return fmt.Sprintf("%011d", ns) }

func setDuration(v url.Values, key string, d time.Duration) {
	if d > 0 {
		v.Set(key, strconv.FormatFloat(d.Seconds(), 'f', -1, 64))
	}
}

// QueryRange runs a query over a span of time. Log results come categorised
// (see [Entry]) from servers that know how.
func (c *Client) QueryRange(ctx context.Context, r RangeRequest) (*QueryResponse, error) {
	body, err := c.get(ctx, "/loki/api/v1/query_range", r.values(), http.Header{EncodingFlagsHeader: {CategorizeLabels}})
	if err != nil {
		return nil, err
	}
	return DecodeQueryResponse(body)
}

// Query evaluates a metric query at one time; the zero time is the server's now.
func (c *Client) Query(ctx context.Context, query string, at time.Time) (*QueryResponse, error) {
	v := url.Values{"query": {query}}
	setTime(v, "time", at)
	body, err := c.get(ctx, "/loki/api/v1/query", v, nil)
	if err != nil {
		return nil, err
	}
	return DecodeQueryResponse(body)
}

// MetadataRequest narrows what the questions about labels and volumes look at.
// Query is a selector or "".
type MetadataRequest struct {
	Query      string
	Start, End time.Time
	// Limit caps the answer of Volume; 0 is the server's default.
	Limit int
	// TargetLabels are the labels by which Volume and VolumeRange group.
	TargetLabels []string
	// AggregateBy is "series" or "labels": with the latter Volume answers one
	// sum for each label name. "" is the server's default, series.
	AggregateBy string
	// Step is the distance of VolumeRange's points.
	Step time.Duration
}

func (r MetadataRequest) values(queryKey string) url.Values {
	v := url.Values{}
	setTime(v, "start", r.Start)
	setTime(v, "end", r.End)
	if r.Query != "" {
		v.Set(queryKey, r.Query)
	}
	if r.Limit > 0 {
		v.Set("limit", strconv.Itoa(r.Limit))
	}
	if len(r.TargetLabels) > 0 {
		v.Set("targetLabels", strings.Join(r.TargetLabels, ","))
	}
	if r.AggregateBy != "" {
		v.Set("aggregateBy", r.AggregateBy)
	}
	setDuration(v, "step", r.Step)
	return v
}

// Labels lists label names, sorted.
func (c *Client) Labels(ctx context.Context, r MetadataRequest) ([]string, error) {
	return c.stringList(ctx, "/loki/api/v1/labels", r)
}

// LabelValues lists the values of one label, sorted.
func (c *Client) LabelValues(ctx context.Context, name string, r MetadataRequest) ([]string, error) {
	return c.stringList(ctx, "/loki/api/v1/label/"+url.PathEscape(name)+"/values", r)
}

func (c *Client) stringList(ctx context.Context, path string, r MetadataRequest) ([]string, error) {
	var out struct {
		Warnings []string
		Data     []string
	}
	err := c.getJSON(ctx, path, r.values("query"), &out)
	c.warned(out.Warnings)
	return out.Data, err
}

// Series lists the streams that match.
func (c *Client) Series(ctx context.Context, r MetadataRequest) ([]labels.Labels, error) {
	var out struct {
		Warnings []string
		Data     []map[string]string
	}
	if err := c.getJSON(ctx, "/loki/api/v1/series", r.values("match[]"), &out); err != nil {
		return nil, err
	}
	c.warned(out.Warnings)
	series := make([]labels.Labels, len(out.Data))
	for i, m := range out.Data {
		series[i] = labels.FromMap(m)
	}
	return series, nil
}

// Volume tells how many bytes are stored, by label set, largest first.
func (c *Client) Volume(ctx context.Context, r MetadataRequest) ([]Series, error) {
	return c.volume(ctx, "/loki/api/v1/index/volume", r)
}

func (c *Client) volume(ctx context.Context, path string, r MetadataRequest) ([]Series, error) {
	body, err := c.get(ctx, path, r.values("query"), nil)
	if err != nil {
		return nil, err
	}
	out, err := DecodeQueryResponse(body)
	if err != nil {
		return nil, err
	}
	c.warned(out.Warnings)
	return out.Series, nil
}

func (c *Client) warned(list []string) {
	if c.Warned == nil {
		return
	}
	for _, text := range list {
		c.Warned(text)
	}
}

// Push stores entries. It returns when the server has made them durable.
func (c *Client) Push(ctx context.Context, streams []model.StreamEntries) error {
	req, err := c.request(ctx, http.MethodPost, "/loki/api/v1/push", nil, bytes.NewReader(EncodePush(streams)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	_, err = c.do(req)
	return err
}

// Ready says whether the server answers queries: nil, or a *StatusError with
// the server's reason.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.get(ctx, "/ready", nil, nil)
	return err
}

// BuildInfo is what a server tells about itself.
type BuildInfo struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

// BuildInfo asks for the server's version.
func (c *Client) BuildInfo(ctx context.Context) (BuildInfo, error) {
	var info BuildInfo
	err := c.getJSON(ctx, "/loki/api/v1/status/buildinfo", nil, &info)
	return info, err
}

// Status returns what [StatusPath] of our collector answers, as JSON.
func (c *Client) Status(ctx context.Context) ([]byte, error) {
	return c.get(ctx, StatusPath, nil, nil)
}

func (c *Client) getJSON(ctx context.Context, path string, v url.Values, into any) error {
	body, err := c.get(ctx, path, v, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, v url.Values, header http.Header) ([]byte, error) {
	req, err := c.request(ctx, http.MethodGet, path, v, nil)
	if err != nil {
		return nil, err
	}
	for k, vs := range header {
		req.Header[k] = vs
	}
	return c.do(req)
}

// url puts base, path and parameters together.
func (c *Client) url(path string, v url.Values) string {
	u := strings.TrimSuffix(c.BaseURL, "/") + path
	if len(v) > 0 {
		u += "?" + v.Encode()
	}
	return u
}

func (c *Client) request(ctx context.Context, method, path string, v url.Values, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url(path, v), body)
	if err != nil {
		return nil, fmt.Errorf("building a request for %s%s: %w", c.BaseURL, path, err)
	}
	for k, vs := range c.Header {
		req.Header[k] = vs
	}
	return req, nil
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return http.DefaultClient
}

// do sends a request and reads the whole answer.
func (c *Client) do(req *http.Request) ([]byte, error) {
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", req.URL.Path, err)
	}
	return body, nil
}

// send returns the answer if its status is 2xx, else a *StatusError.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http().Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	return nil, statusError(req.URL, resp)
}

// maxErrorBody bounds the text of an error that is kept.
const maxErrorBody = 4096

// statusError reads the reason out of the answer and closes it.
func statusError(u *url.URL, resp *http.Response) error {
	defer resp.Body.Close() //nolint:errcheck // only its text matters
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	return &StatusError{
		Code: resp.StatusCode,
		Body: strings.TrimSpace(string(body)),
		URL:  u.Scheme + "://" + u.Host + u.Path,
	}
}
