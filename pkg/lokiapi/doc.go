// Package lokiapi speaks the wire formats of Grafana Loki's HTTP API, from
// both ends: it decodes and checks what log shippers push, encodes what
// queries answer, and holds the HTTP client that the plugin uses against our
// collector or a foreign Loki.
//
// The main types are:
//
//   - [Decoder] turns a push body (protobuf, JSON, legacy JSON) or a request of
//     OpenTelemetry's protocol into a [model.Batch], applies [Limits], adds the
//     label service_name and the structured metadata detected_level ([Levels]),
//     and counts what it refuses by reason;
//   - [Encoder] writes query answers without building them in memory first;
//   - [Client] with [QueryResponse], [TailStream] and [StatusError], and the
//     types of each endpoint's answer beside its method ([DetectedField],
//     [Pattern], [DeleteRequest], …).
//
// Lines and metadata of a decoded push alias the body's buffer: nothing is
// copied per line. The labels of a stream that was pushed before are found in
// a bounded cache by their text and are not parsed again.
//
// The package evaluates nothing, stores nothing and knows no LogQL. Handlers
// live in package server.
//
// # Push protobuf
//
// The messages of the public package logproto, read field by field with
// protowire (no generated code, unknown fields are skipped):
//
//	PushRequest { repeated Stream streams = 1 }
//	Stream      { string labels = 1; repeated Entry entries = 2 }
//	Entry       { Timestamp timestamp = 1; string line = 2; repeated LabelPair structuredMetadata = 3 }
//	LabelPair   { string name = 1; string value = 2 }
//	Timestamp   { int64 seconds = 1; int32 nanos = 2 }
//
// The body is one snappy block (not the framed format).
//
// # OTLP
//
// An ExportLogsServiceRequest is read in the same way, without generated code
// and without a copy of its texts. Its mapping is Loki's:
//
//	attributes of the resource   labels if they are in [DefaultOTLPLabels], else metadata
//	attributes of scope, record  metadata; so are scope_name, scope_version, event_name,
//	                             severity_number, severity_text, trace_id, span_id, flags,
//	                             observed_timestamp and …dropped_attributes_count, if set
//	names                        [OTLPName]; a map becomes a pair for each of its values
//	other values                 numbers and booleans as in JSON, bytes in base64, arrays as JSON
//	body                         the line; a map or an array as JSON with sorted keys
//	time                         of the record, else when it was observed, else now
//
// [OTLPConfig] changes what becomes of attributes. Of pairs with one name that
// of the scope counts before that of the resource and of the record.
//
// # Tail as NDJSON
//
// Loki tails through a WebSocket, which the API server's service proxy passes
// but many proxies in between do not. Our collector also streams plain lines of
// JSON at [TailPath], one of:
//
//	{"labels":{…},"timestamp":"<ns>","line":"…","structuredMetadata":{…},"parsed":{…}}
//	{"event":"live"}                 stored entries end here, live ones follow
//	{"event":"dropped","count":N}    the reader was too slow for N entries
//	{"event":"warning","message":"…"} entries may be missing: a replica does not answer
//	{"event":"error","message":"…"}  the last line when the tail breaks
//
// and an empty line at least every ten seconds, so that both ends notice a
// dead connection. The two maps are left out when they are empty. [ExportPath]
// answers a log query of any size in the same form, ended by {"event":"end"}.
package lokiapi
