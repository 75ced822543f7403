// Package doctor answers "why do my logs not flow?".
//
// A [Snapshot] is loaded first ([Load]): everything that checks look at, read
// once, with the reads that were refused remembered. A check is a value, an
// entry of the one ordered list [Checks]; it is a pure function of the
// snapshot, declares what it needs, and returns findings. [Run] runs the list
// and builds a [Report]; what printed it, and in which form, it does not know.
//
// Codes (LS0101) are permanent: a code is retired, never used for anything
// else. A check that may not look is a visible Skip, never a pass. A finding
// that explains others names them, so that a person reads the cause first.
//
// So far it examines our own stack. Other stacks (Loki, Alloy, Promtail,
// Grafana), files and charts use the same form.
package doctor
