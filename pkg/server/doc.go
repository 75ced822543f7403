// Package server answers Loki's HTTP API, and a few paths of our own, on top
// of a store and a query engine that it sees as interfaces.
//
// [New] makes a [Server] from [Options]; it can listen at once and answers 503
// with a reason until [Server.SetBackend] hands it the [Store] and the
// [Engine]. [Server.Drain] ends the tails and turns readiness off, so that a
// shutdown of the HTTP server does not wait for them.
//
// Pushes are decoded by package lokiapi, bounded in memory, and answered when
// the store has made them durable. Queries run a few at a time; further ones
// wait for their turn and are never refused for load. Identical ones run once, a
// query whose clients have left ends, and results that clients do not read are
// bounded (Options.AnswerMemory). A tail subscribes before it reads the stored
// entries and leaves out what both bring, so that nothing is missing and nothing
// comes twice where they meet.
//
// A metric query with too many series is an error, but a part and a warning for
// what Grafana marks as shown to a person, and with partial=true (params.go).
// Cache-Control: no-cache has everything evaluated anew.
//
// Errors are plain text with Loki's status codes, for OTLP a google.rpc.Status.
// The package evaluates no query and stores nothing; authentication is left to
// the network in front (NetworkPolicy, service proxy).
//
// # What is stored, by other means than queries
//
// Labels, streams, volumes and statistics come from the index alone (metadata.go).
// Fields are looked for in a sample of the newest lines (fields.go), patterns in
// all lines or a sample over the whole range (patterns.go). Rules are none's
// business here, but clients that ask for them get an answer they understand
// (rules.go).
//
// # Metrics
//
//	logstack_http_request_duration_seconds  {route, method, code}
//	logstack_http_requests_refused_total    {route, reason}: answered with an error
//	logstack_http_panics_total              bugs
//	logstack_queries_running                now, of Options.MaxQueries
//	logstack_queries_waiting                for their turn
//	logstack_push_entries_total             stored
//	logstack_push_bytes_total               of their lines and metadata
//	logstack_push_body_bytes_total          as they were sent
//	logstack_push_refused_entries_total     {reason}
//	logstack_push_refused_bytes_total       {reason}
//	logstack_push_truncated_lines_total     too long, where that is not refused
//	logstack_tails                          open
//	logstack_tail_dropped_entries_total     that slow readers lost
//	loki_discarded_samples_total            {reason, tenant}, loki_discarded_bytes_total:
//	                                        refused entries under Loki's names
//
// The reasons of refused requests are bad_query, bad_parameter, pipeline_error (a
// line that a metric query cannot use), limit (of entries, series, memory, tails),
// too_large (a form or body), not_ready, timeout, cancelled (the client
// left, or does not read), internal, and other.
package server
