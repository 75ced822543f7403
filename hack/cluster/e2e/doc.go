// Package e2e tests the collector from end to end on the API rig: the real
// binary as a process, a real API server, the kubelet's real log reader, and
// faults between them. What counts is what a query over Loki's HTTP API returns:
// every line exactly once, in order, intact, or inside a marked gap.
//
// The package has no code of its own besides tests. [TestMain] builds the
// collector and starts one rig; every test has its own namespace, node and
// collector with an empty data directory, and deletes its pods at the end.
package e2e
