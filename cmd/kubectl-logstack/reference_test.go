package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
)

// commands lists the commands that people see, the root first.
func commands(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, commands(sub)...)
		}
	}
	return list
}

func newTestRoot(t *testing.T) *cobra.Command {
	t.Helper()
	t.Setenv("HOME", "~") // kubectl's --cache-dir has it as its default
	var none bytes.Buffer
	root := newRootCmd(genericiooptions.IOStreams{In: &none, Out: &none, ErrOut: &none})
	root.InitDefaultHelpFlag()
	return root
}

// TestHelp keeps what --help of every command prints, see testdata/help.
func TestHelp(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands(newTestRoot(t)) {
		path := strings.Fields(c.CommandPath())[2:] // behind kubectl logstack
		name := strings.Join(path, "_")
		if name == "" {
			name = "logstack"
		}
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(append(path, "--help"), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
			if code != 0 || errOut.Len() > 0 {
				t.Errorf("code %d, stderr %s", code, &errOut)
			}
			if strings.Contains(out.String(), "\n  kubectl-logstack ") {
				t.Error("it is called kubectl logstack")
			}
			file := name + ".txt"
			seen[file] = true
			golden(t, filepath.Join("testdata", "help", file), out.Bytes())
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/help/%s is of no command: delete it", f.Name())
		}
	}
}

// TestManners: every command has examples that name it, lines that a usual
// terminal shows whole, and a sentence on every flag.
func TestManners(t *testing.T) {
	root := newTestRoot(t)
	for _, c := range commands(root) {
		if !strings.Contains(c.Example, c.CommandPath()) && len(c.Commands()) == 0 {
			t.Errorf("%s: no example of it", c.CommandPath())
		}
		for text, most := range map[string]int{c.Long: 96, c.Example: 120} {
			for line := range strings.Lines(text) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > most {
					t.Errorf("%s: %d columns, want at most %d: %s", c.CommandPath(), n, most, line)
				}
			}
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short text %q is a phrase without a full stop", c.CommandPath(), c.Short)
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || f.Name != "help" && !strings.HasSuffix(f.Usage, ".") && !strings.HasSuffix(f.Usage, "?") {
				t.Errorf("%s: --%s: %q is no sentence", c.CommandPath(), f.Name, f.Usage)
			}
		})
	}
}

// TestExitCodes: doctor's own codes are those of the table.
func TestExitCodes(t *testing.T) {
	for ours, theirs := range map[int]int{exitOK: doctor.ExitOK, exitFailed: doctor.ExitFindings, exitUsage: doctor.ExitUsage, exitNoConnect: doctor.ExitBlind} {
		if ours != theirs {
			t.Errorf("doctor says %d for what is %d elsewhere", theirs, ours)
		}
	}
}

// TestReference keeps docs/commands.md in step with the commands.
func TestReference(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "commands.md"), reference(newTestRoot(t)))
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is stale (go test ./cmd/kubectl-logstack -update):\n%s", file, diff)
	}
}

// reference is the text of docs/commands.md.
func reference(root *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# The commands of kubectl logstack

Generated from the commands (make update). `+"`kubectl logstack COMMAND --help`"+` prints the same.

`)
	all := commands(root)[1:]
	b.WriteString("| command | |\n|---|---|\n")
	for _, c := range all {
		name := strings.TrimPrefix(c.CommandPath(), root.CommandPath()+" ")
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", name, anchor(c), c.Short)
	}
	b.WriteString("\n## Exit codes\n\nThe same for every command.\n\n| code | meaning |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.meaning)
	}
	b.WriteString("\n## Flags of every command\n\nkubectl's own; they stand behind `logstack`, since kubectl takes none before the name of a plugin.\n\n")
	fence(&b, "", root.PersistentFlags().FlagUsages())
	for _, c := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", c.CommandPath(), strings.TrimSpace(orShort(c)))
		if c.Runnable() {
			fence(&b, "", c.UseLine()+"\n")
		}
		if c.Example != "" {
			b.WriteString("\nExamples:\n\n")
			fence(&b, "sh", unindent(c.Example))
		}
		if c.HasAvailableLocalFlags() {
			b.WriteString("\nFlags:\n\n")
			fence(&b, "", c.LocalFlags().FlagUsages())
		}
	}
	return b.Bytes()
}

func orShort(c *cobra.Command) string {
	if c.Long == "" {
		return c.Short + "."
	}
	return paragraphs(c.Long)
}

// paragraphs keeps the indented parts of a long text, which are lists and
// tables, as they are.
func paragraphs(text string) string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, "  ")
		if indented != inside && strings.TrimSpace(line) != "" {
			b.WriteString("```\n")
			inside = indented
		}
		b.WriteString(line)
	}
	if inside {
		b.WriteString("\n```\n")
	}
	return b.String()
}

func unindent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	return b.String()
}

func fence(b *bytes.Buffer, language, text string) {
	fmt.Fprintf(b, "```%s\n%s\n```\n", language, strings.Trim(text, "\n"))
}

// anchor is how GitHub names a heading.
func anchor(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
