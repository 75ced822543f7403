// Package reach finds out whether something can be reached from where the
// program runs, and at which step it ends: the name, the connection, TLS, HTTP.
//
// The collector's probe command runs it in a pod that `kubectl logstack doctor
// --probe` makes, and hands the Answers back in the container's termination
// message ([Encode], [Decode]), which has room for 4096 bytes and needs no right
// to read logs. It follows no redirect, uses no proxy, sends no credentials and
// reads no body.
package reach
