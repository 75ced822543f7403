package lokiapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// IndexStats is what a selector would read, from the index alone.
type IndexStats struct {
	Streams int64 `json:"streams"`
	Chunks  int64 `json:"chunks"`
	Bytes   int64 `json:"bytes"`
	Entries int64 `json:"entries"`
}

// IndexStats sums up the streams that r.Query selects.
func (c *Client) IndexStats(ctx context.Context, r MetadataRequest) (IndexStats, error) {
	var out IndexStats
	err := c.getJSON(ctx, "/loki/api/v1/index/stats", r.values("query"), &out)
	return out, err
}

// VolumeRange is [Client.Volume] for each r.Step of the range. The points of a
// series are sums of bytes over one step.
func (c *Client) VolumeRange(ctx context.Context, r MetadataRequest) ([]Series, error) {
	return c.volume(ctx, "/loki/api/v1/index/volume_range", r)
}

// DetectedLabel is a label that is worth grouping by.
type DetectedLabel struct {
	Label string `json:"label"`
	// Cardinality is the number of its values.
	Cardinality int `json:"cardinality"`
}

// DetectedLabelsAnswer is the body of detected_labels.
type DetectedLabelsAnswer struct {
	DetectedLabels []DetectedLabel `json:"detectedLabels"`
}

// DetectedLabels lists the labels of the selected streams whose values are not
// all numbers or identifiers.
func (c *Client) DetectedLabels(ctx context.Context, r MetadataRequest) ([]DetectedLabel, error) {
	var out DetectedLabelsAnswer
	err := c.getJSON(ctx, "/loki/api/v1/detected_labels", r.values("query"), &out)
	return out.DetectedLabels, err
}

// FieldsRequest asks what fields the newest lines of a log query have. Zero
// fields are left to the server.
type FieldsRequest struct {
	// Query is a log query with any pipeline.
	Query      string
	Start, End time.Time
	// LineLimit is the number of lines that are looked at, Limit that of fields,
	// or values, in the answer.
	LineLimit, Limit int
}

func (r FieldsRequest) values() url.Values {
	v := url.Values{"query": {r.Query}}
	setTime(v, "start", r.Start)
	setTime(v, "end", r.End)
	if r.LineLimit > 0 {
		v.Set("line_limit", strconv.Itoa(r.LineLimit))
	}
	if r.Limit > 0 { // releases of Loki read one or the other
		v.Set("limit", strconv.Itoa(r.Limit))
		v.Set("field_limit", strconv.Itoa(r.Limit))
	}
	return v
}

// Types of a [DetectedField], in the order in which they are tried: a field has
// the first that all of its values agree on.
const (
	FieldInt      = "int"
	FieldFloat    = "float"
	FieldBoolean  = "boolean"
	FieldDuration = "duration"
	FieldBytes    = "bytes"
	FieldString   = "string"
)

// DetectedField is a name that structured metadata or parsed lines have values for.
type DetectedField struct {
	Label string `json:"label"`
	// Type is one of FieldInt … FieldString.
	Type        string `json:"type"`
	Cardinality uint64 `json:"cardinality"`
	// Parsers are the parsers that find the field: "json", "logfmt". nil, which
	// is null in JSON and means something to clients, for structured metadata.
	Parsers []string `json:"parsers"`
	// JSONPath is where a JSON line has the field: the keys from the outside in.
	JSONPath []string `json:"jsonPath,omitempty"`
}

// DetectedFieldsAnswer is the body of detected_fields.
type DetectedFieldsAnswer struct {
	Fields []DetectedField `json:"fields"`
	// Limit is how many fields could have been answered.
	Limit int `json:"limit"`
}

// DetectedFields lists the fields of the newest lines of a log query.
func (c *Client) DetectedFields(ctx context.Context, r FieldsRequest) ([]DetectedField, error) {
	var out DetectedFieldsAnswer
	err := c.getJSON(ctx, "/loki/api/v1/detected_fields", r.values(), &out)
	return out.Fields, err
}

// DetectedFieldValuesAnswer is the body of detected_field/{name}/values.
type DetectedFieldValuesAnswer struct {
	Values []string `json:"values"`
	Limit  int      `json:"limit"`
}

// DetectedFieldValues lists values of one field of the newest lines.
func (c *Client) DetectedFieldValues(ctx context.Context, name string, r FieldsRequest) ([]string, error) {
	var out DetectedFieldValuesAnswer
	err := c.getJSON(ctx, "/loki/api/v1/detected_field/"+url.PathEscape(name)+"/values", r.values(), &out)
	return out.Values, err
}

// Pattern is a shape that many lines share: text with <_> where they differ.
type Pattern struct {
	Pattern string `json:"pattern"`
	// Level is the detected_level of its lines.
	Level string `json:"level"`
	// Samples are sorted by time.
	Samples []PatternSample `json:"samples"`
}

// Total is the number of lines of all samples.
func (p *Pattern) Total() int64 {
	var n int64
	for _, s := range p.Samples {
		n += s.Count
	}
	return n
}

// PatternSample counts the lines of one step.
type PatternSample struct {
	Time  int64 // seconds since the epoch
	Count int64
}

// MarshalJSON writes [<seconds>,<count>].
func (s PatternSample) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d]", s.Time, s.Count), nil
}

// UnmarshalJSON reads [<seconds>,<count>].
func (s *PatternSample) UnmarshalJSON(text []byte) error {
	var pair []int64
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a sample has %d parts, want 2", len(pair))
	}
	s.Time, s.Count = pair[0], pair[1]
	return nil
}

// Patterns groups the lines of a query by their shape, most lines first. Of r
// Query, Start, End and Step are sent. A server that cannot do this answers 404.
func (c *Client) Patterns(ctx context.Context, r RangeRequest) ([]Pattern, error) {
	v := url.Values{"query": {r.Query}}
	setTime(v, "start", r.Start)
	setTime(v, "end", r.End)
	setDuration(v, "step", r.Step)
	var out struct{ Data []Pattern }
	err := c.getJSON(ctx, "/loki/api/v1/patterns", v, &out)
	return out.Data, err
}

// QueryFormatError says why the server cannot read a query.
type QueryFormatError struct{ Msg string }

func (e *QueryFormatError) Error() string { return e.Msg }

// FormatQuery has the server print a query nicely. A query that cannot be read
// is a *QueryFormatError.
func (c *Client) FormatQuery(ctx context.Context, query string) (string, error) {
	var out struct{ Data, Error string }
	err := c.getJSON(ctx, "/loki/api/v1/format_query", url.Values{"query": {query}}, &out)
	// This endpoint alone answers its errors as JSON.
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusBadRequest &&
		json.Unmarshal([]byte(status.Body), &out) == nil && out.Error != "" {
		return "", &QueryFormatError{Msg: out.Error}
	}
	return out.Data, err
}
