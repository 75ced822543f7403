package main

import (
	"fmt"
	"strings"
)

// The exit codes, the same for every command.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNoConnect   = 3
	exitInterrupted = 130 // as shells report a program that SIGINT ended
)

// exitCodes is the one table of them, for the help and for docs/commands.md.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done; also when the reader of the output (head, less) had enough of it"},
	{exitFailed, "not done; also: status is not ready, doctor has findings"},
	{exitUsage, "a flag, an argument, a query or a file is wrong: nothing was done"},
	{exitNoConnect, "the cluster or the collector was not reached, or refuses; doctor: could look at nothing"},
	{exitInterrupted, "interrupted (Ctrl-C); what was printed before is complete"},
}

// exitCodesHelp is the table as the help of the root shows it.
func exitCodesHelp() string {
	var b strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	return strings.TrimRight(b.String(), "\n")
}
