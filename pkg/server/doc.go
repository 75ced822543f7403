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
// wait for their turn and are never refused for load. A tail subscribes before
// it reads the stored entries and leaves out what both bring, so that nothing
// is missing and nothing comes twice where they meet.
//
// Errors are plain text with Loki's status codes, for OTLP a google.rpc.Status.
// The package evaluates no
// query and stores nothing; authentication is left to the network in front
// (NetworkPolicy, service proxy).
package server
