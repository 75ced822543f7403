// Package doctor answers "why do my logs not flow?", for our own stack and for
// Loki, Alloy, Promtail, Fluent Bit, Vector and Grafana, in a live cluster, in
// files, and in files laid over a cluster.
//
// A snapshot is loaded first (package snapshot): everything that checks look
// at, read once, with the reads that were refused remembered. A [Check] is a
// value in the one ordered registry [Checks]; it is a pure function of the
// snapshot, declares what it reads, and returns findings. [Run] runs the
// registry and builds a [Report]; package report prints it, in any format,
// with the same content and the same exit code. Running knows no printing.
//
// # Results
//
// Codes (LS0101) are permanent: a code is retired, never used for anything
// else. Every check ends in at least one [Finding]: ok, a problem (error,
// warning, info), skip (something could not be looked at: never a pass), or
// none (there is nothing of the kind to look at). A finding that is a cause
// names the symptoms it explains ([Finding.Explains]); Run links them, so that
// a person reads the cause first.
//
// # How to add a check
//
//  1. Take its code from the catalogue; put a Check into the list of its
//     category's file (cluster.go, security.go, workloads.go, services.go,
//     charts.go, collectors.go, grafana.go, storage.go, flow.go, hygiene.go).
//     The order of the lists is the order of a report: causes before symptoms.
//  2. Fill in Code, Severity (the worst it can find), Title (what holds when
//     all is well), Explain (what is examined, and why it matters), Fix (the
//     general remedy), Needs (inputs without which the check cannot be made:
//     missing ones make it a skip) and Uses (inputs it reads when they are
//     there: ask s.Missing or s.Covers).
//  3. Applies says whether there is anything to look at; without it the check
//     always applies.
//  4. Run returns the problems; none is ok. Give a finding the place
//     (s.Ref(object, "spec", "ports"), release.Ref(...), text.At(line, col)),
//     the proof as Detail, a Fix ready to paste, a Patch where a file has to
//     change, and Explains ("LS0504" or "LS0401@pod/monitoring/*": code, and
//     if need be a glob of the symptom's object).
//     A part that could not be examined is a finding of status Skip, by [skip].
//  5. Write one failing and one passing case: files testdata/checks/LSnnnn-*.yaml
//     with the objects and, in the header, what has to be found
//     ("# EXPECT: LS0501 error ..."; "# EXPECT: none"; see cases_test.go for
//     all header words), or an entry of goCases in gocases_test.go (or of
//     moreCases, filled by the init of a test file of your own) for inputs
//     that no file can hold (rights, probes).
//  6. go test ./pkg/doctor -update rewrites docs/checks.md.
//
// The meta-tests (meta_test.go) hold each check to this.
//
// A new kind of object: one row in snapshot/kinds.go, an Input, an accessor.
// A new live measurement: an Input, a field behind an accessor, a function in
// [snapshot.Probes] given by the command.
package doctor
