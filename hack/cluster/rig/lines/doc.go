// Package lines makes log lines that can be checked one by one after a fault
// test, and checks them.
//
// A [Source] numbers its lines from 0; every line carries the name of its run
// (one per container instance and stream), its number and a checksum:
//
//	┌────────────────┬──────┬─────┬───┬─────┬───┬──────────┬───┬─────────┐
//	│ disguise (opt) │ LSQ/ │ run │ / │ seq │ / │ crc (8x) │ ␠ │ payload │
//	└────────────────┴──────┴─────┴───┴─────┴───┴──────────┴───┴─────────┘
//
//	disguise  text that looks like something a reader may trip over: a
//	          timestamp, an error of the kubelet, a gap marker
//	run       letters, digits, '.', '_', '-'; no slash
//	seq       decimal, from 0
//	crc       CRC-32C of disguise and payload in canonical form, hexadecimal
//	payload   fills the line to a chosen length
//
// The canonical form replaces each run of bytes that are not UTF-8 by one
// U+FFFD: JSON answers cannot carry them otherwise, and the checksum must hold
// on both sides of that.
//
// A [Check] is fed the entries of a query result and reports, per run, the
// numbers that are missing, doubled, out of order or damaged: the invariants L1
// to L5 of log collection. Missing numbers are excused only by a [Gap] that
// names their place.
//
// The package knows no Kubernetes and no query language.
package lines
