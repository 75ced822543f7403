// Package report prints a doctor.Report: as text for people, and in the forms
// that programs read (JSON, YAML, JUnit, SARIF, GitHub annotations).
//
// All forms show the same findings with the same codes, places, details and
// fixes; none of them decides anything: the exit code is in the report. The
// caller says how to paint, so that this package knows no terminal.
package report
