// Command loggen writes log lines as applications do, each with a number and a
// checksum, so that a test can tell whether every line arrived once and whole.
//
//	loggen -format json -rate 5 -count 1000
//	kubectl logstack query '{namespace="demo"}' -o raw | loggen -verify
//
// Every flag is also an environment variable of the same name in capitals.
//
// # Lines
//
// A line ends with three fields, written in the way of its format:
//
//	id=checkout-7d9f seq=42 crc=1a2b3c4d
//	"id":"checkout-7d9f","seq":42,"crc":"1a2b3c4d"}
//
// id is the writer (the pod's name by default), seq counts from 1 (or from
// -start), and crc is the CRC-32C of all bytes of the line before the crc field
// and its separator, in hexadecimal. The format java puts a stack trace of plain
// lines after some numbered ones, as a logging framework does.
//
// The text depends only on -seed, id, seq and the clock.
//
// # Verifying
//
// With -verify the command reads lines from standard input, in any order and
// from any number of writers, and reports per writer what is missing, doubled or
// damaged; the exit code is 1 when anything is. Lines without the fields are
// counted and otherwise ignored.
package main
