// Package clients tests the running collector with the programs that people
// already have, each as it is: an OpenTelemetry SDK that exports logs, Loki's
// own protobuf types as Promtail and Alloy push them, a WebSocket client that
// tails, and logcli where this machine has one.
//
// The tests build the collector from the root module, start it on the loopback
// interface with a temporary data directory and without Kubernetes, and ask
// only over HTTP. This is a module of its own, so that the clients' dependencies
// never meet the product's.
//
//	go -C hack/clients test ./...
//	LOGSTACK_LOGCLI=/path/to/logcli go -C hack/clients test ./...
//
// logcli is taken from LOGSTACK_LOGCLI, else from PATH; without it its tests are
// skipped and say so.
package clients
