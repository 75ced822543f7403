package lokiapi

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound what a push may hold. Zero values of the sizes mean the
// default; see [DefaultLimits].
type Limits struct {
	// MaxDecoded is the largest body after decompression, in bytes.
	MaxDecoded int
	// MaxEntries and MaxStreams bound one request: an empty entry takes two
	// bytes in protobuf and forty in memory.
	MaxEntries, MaxStreams int
	// MaxLine is the longest line in bytes. A longer one is refused, or cut if
	// TruncateLines is set.
	MaxLine int
	// TruncateLines cuts lines that are too long to MaxLine, TruncateMarker at
	// their end included.
	TruncateLines  bool
	TruncateMarker string
	// MaxLabelNames counts the labels of a stream, service_name aside.
	MaxLabelNames int
	// MaxLabelName and MaxLabelValue are lengths in bytes.
	MaxLabelName, MaxLabelValue int
	// MaxMetadataPairs and MaxMetadataBytes bound the structured metadata of an entry.
	MaxMetadataPairs, MaxMetadataBytes int
	// MaxAge refuses entries that are older. 0, the default, takes any age:
	// late entries are welcome.
	MaxAge time.Duration
	// MaxFuture refuses entries whose timestamp lies further ahead than this;
	// negative means no limit.
	MaxFuture time.Duration
	// ServiceNameLabels are tried in this order for the label service_name of
	// a stream that has none; "unknown_service" is used if it has none of them.
	// Empty (not nil) turns the discovery off.
	ServiceNameLabels []string
	// NoLevels turns the detection of detected_level off.
	NoLevels bool
	// LevelFields are the labels, metadata and fields of lines that hold a
	// level; nil means [DefaultLevelFields].
	LevelFields []string
	// OTLP says what becomes of OpenTelemetry's attributes.
	OTLP OTLPConfig
}

// DefaultLimits are Loki's defaults where it has some, with bodies bounded for
// a collector of 128 MiB and entries of any age accepted.
func DefaultLimits() Limits {
	return Limits{
		MaxDecoded:       32 << 20,
		MaxEntries:       1 << 19,
		MaxStreams:       1 << 16,
		MaxLine:          256 << 10,
		MaxLabelNames:    15,
		MaxLabelName:     1024,
		MaxLabelValue:    2048,
		MaxMetadataPairs: 128,
		MaxMetadataBytes: 64 << 10,
		MaxFuture:        10 * time.Minute,
		ServiceNameLabels: []string{
			"service", "app", "application", "app_name", "name", "app_kubernetes_io_name",
			"container", "container_name", "k8s_container_name", "component", "workload",
			"job", "k8s_job_name",
		},
	}
}

func (l *Limits) ensureDefaults() {
	d := DefaultLimits()
	for _, p := range []struct {
		v *int
		d int
	}{
		{&l.MaxDecoded, d.MaxDecoded},
		{&l.MaxEntries, d.MaxEntries},
		{&l.MaxStreams, d.MaxStreams},
		{&l.MaxLine, d.MaxLine},
		{&l.MaxLabelNames, d.MaxLabelNames},
		{&l.MaxLabelName, d.MaxLabelName},
		{&l.MaxLabelValue, d.MaxLabelValue},
		{&l.MaxMetadataPairs, d.MaxMetadataPairs},
		{&l.MaxMetadataBytes, d.MaxMetadataBytes},
	} {
		if *p.v <= 0 {
			*p.v = p.d
		}
	}
	if l.MaxFuture == 0 {
		l.MaxFuture = d.MaxFuture
	}
	if l.ServiceNameLabels == nil {
		l.ServiceNameLabels = d.ServiceNameLabels
	}
}

// Reason names why something was refused, in Loki's words: it is the label of
// a counter.
type Reason string

// The reasons for which a [Decoder] refuses streams and entries.
const (
	ReasonLineTooLong       Reason = "line_too_long"
	ReasonInvalidLabels     Reason = "invalid_labels"
	ReasonMissingLabels     Reason = "missing_labels"
	ReasonTooOld            Reason = "greater_than_max_sample_age"
	ReasonTooFarInFuture    Reason = "too_far_in_future"
	ReasonTooManyLabels     Reason = "max_label_names_per_series"
	ReasonLabelNameTooLong  Reason = "label_name_too_long"
	ReasonLabelValueTooLong Reason = "label_value_too_long"
	ReasonDuplicateLabels   Reason = "duplicate_label_names"
	ReasonMetadataTooLarge  Reason = "structured_metadata_too_large"
	ReasonMetadataTooMany   Reason = "structured_metadata_too_many"
	ReasonBodyTooLarge      Reason = "request_body_too_large"
	ReasonMalformed         Reason = "malformed_request"
	ReasonTimeout           Reason = "request_timeout" // the body did not come
	ReasonNoStreams         Reason = "no_streams"
)

// ErrNoStreams says that a push holds no stream at all (HTTP 422).
var ErrNoStreams = errors.New("error at least one valid stream is required for ingestion")

// TooLargeError says that a body exceeds a limit (HTTP 413).
type TooLargeError struct {
	What  string // "decompressed body", "entries", …
	Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("push request has too many %s: the limit is %d; send smaller batches", e.What, e.Limit)
}

// Refusal counts entries of a request that were refused for one reason.
type Refusal struct {
	Reason  Reason
	Entries int
	Bytes   int64
	// Message explains the first of them.
	Message string
}
