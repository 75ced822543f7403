package main

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// The scripts for the shells whose ones from cobra cannot complete inside of
// quotes, which is where queries are: those have the shell evaluate the
// unfinished line. Ours hand over what is typed as it is.
//
//go:embed shell/completion.bash shell/completion.zsh shell/completion.fish
var completionScripts embed.FS

func newCompletionCmd(a *app) *cobra.Command {
	var install bool
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell|kubectl",
		Short: "Print the script for completions by the tab key",
		Long: `Print the script that makes a shell complete commands, flags and, inside of a query,
labels and their values as the server has them.

The scripts for bash, zsh and fish are also for "kubectl logstack", beside
kubectl's own script, and complete inside of quotes, too.

kubectl's own script alone, in every shell, asks a program on the PATH,
kubectl_complete-logstack: "completion kubectl" prints it, with --install it is
written beside kubectl-logstack.`,
		Example: `  # bash: in ~/.bashrc, behind kubectl's own
  source <(kubectl completion bash)
  source <(kubectl logstack completion bash)

  # zsh: in ~/.zshrc, likewise
  source <(kubectl logstack completion zsh)

  # fish
  kubectl logstack completion fish | source

  # any shell in which kubectl's own completion works
  kubectl logstack completion kubectl --install`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell", "kubectl"},
		Args:      between(1, 1, "the name of a shell, or kubectl"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if install && args[0] != "kubectl" {
				return usagef("--install is for completion kubectl; for %s see the examples of %s --help", args[0], cmd.CommandPath())
			}
			switch args[0] {
			case "bash", "zsh", "fish":
				text, err := completionScripts.ReadFile("shell/completion." + args[0])
				if err != nil {
					return err
				}
				_, err = a.Out.Write(text)
				return err
			case "powershell":
				return cmd.Root().GenPowerShellCompletionWithDesc(a.Out)
			case "kubectl":
				if !install {
					_, err := io.WriteString(a.Out, kubectlCompletion)
					return err
				}
				path, err := installCompletion()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.Out, path)
				return err
			}
			return usagef("%q: bash, zsh, fish, powershell or kubectl", args[0])
		},
	}
	cmd.Flags().BoolVar(&install, "install", false, "With kubectl: write the script beside kubectl-logstack and print where.")
	return cmd
}

// newCompleteBashCmd is what our script for bash calls.
func newCompleteBashCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "__completeBash WORD LINE",
		Short:  "Answer the completion script of bash",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			nospace, candidates := completeLine(a, args[0], args[1])
			if len(candidates) == 0 {
				return nil
			}
			directive := "space"
			if nospace {
				directive = "nospace"
			}
			_, err := fmt.Fprintln(a.Out, directive+"\n"+strings.Join(candidates, "\n"))
			return err
		},
	}
}

// completeLine completes the last word of a command line up to the cursor. word
// is what readline is going to replace: the end of that word.
func completeLine(a *app, word, line string) (nospace bool, candidates []string) {
	words, quote := splitLine(line)
	// The program: kubectl-logstack, or kubectl logstack.
	if len(words) > 2 && words[1] == "logstack" {
		words = words[1:]
	}
	if len(words) < 2 {
		return false, nil
	}
	var out bytes.Buffer
	root := newRootCmd(genericiooptions.IOStreams{In: a.In, Out: &out, ErrOut: io.Discard})
	root.SetArgs(append([]string{cobra.ShellCompNoDescRequestCmd}, words[1:]...))
	if root.Execute() != nil {
		return false, nil
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], ":"))
	if err != nil || cobra.ShellCompDirective(directive)&cobra.ShellCompDirectiveError != 0 {
		return false, nil
	}
	nospace = cobra.ShellCompDirective(directive)&cobra.ShellCompDirectiveNoSpace != 0
	typed := words[len(words)-1]
	// A flag with its value is one word for us; cobra answers with the value.
	if strings.HasPrefix(typed, "-") {
		if _, value, ok := strings.Cut(typed, "="); ok {
			typed = value
		}
	}
	for _, c := range lines[:len(lines)-1] {
		if c, ok := forReadline(c, typed, word, quote); ok {
			candidates = append(candidates, c)
		}
	}
	if nospace && quote != 0 && len(candidates) == 1 {
		// Readline closes the quote behind a single candidate, although the
		// word goes on. Of two it takes what they have in common.
		candidates = append(candidates, candidates[0]+"…")
	}
	return nospace, candidates
}

// forReadline writes a candidate as it is to be inserted in place of word.
func forReadline(candidate, typed, word string, quote byte) (string, bool) {
	plain := unescapeIn(quote, word)
	if !strings.HasPrefix(candidate, typed) || !strings.HasSuffix(typed, plain) {
		return "", false
	}
	rest := candidate[len(typed)-len(plain):]
	switch quote {
	case '\'':
		return strings.ReplaceAll(rest, `'`, `'\''`), true
	case '"':
		return escapeInDouble.Replace(rest), true
	}
	if strings.ContainsAny(rest, " \t\"'`\\$&|;<>(){}*?!#~") {
		// Begin a quote, if the word begins here.
		return "'" + strings.ReplaceAll(rest, `'`, `'\''`), plain == typed
	}
	return rest, true
}

var escapeInDouble = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")

func unescapeIn(quote byte, s string) string {
	switch quote {
	case '\'':
		return s
	case '"':
		return escapedInDouble.ReplaceAllString(s, "$1")
	}
	words, _ := splitLine(s)
	return words[len(words)-1]
}

// splitLine cuts the last command of an unfinished line into words, as a shell
// does, and tells the quote that is open at its end. There is always a last
// word, which may be empty.
func splitLine(line string) (words []string, open byte) {
	var word strings.Builder
	begun := false
	finish := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for i := 0; i < len(line); i++ {
		b := line[i]
		switch {
		case open == '\'' && b == '\'', open == '"' && b == '"':
			open = 0
		case open == '\'':
			word.WriteByte(b)
		case b == '\\' && i+1 < len(line) && (open == 0 || strings.IndexByte("\\\"$`", line[i+1]) >= 0):
			i++
			word.WriteByte(line[i])
			begun = true
		case open == '"':
			word.WriteByte(b)
		case b == '\'' || b == '"':
			open, begun = b, true
		case b == ' ' || b == '\t' || b == '\n':
			finish()
		case b == '|' || b == ';' || b == '&' || b == '(':
			word.Reset()
			words, begun = nil, false
		default:
			word.WriteByte(b)
			begun = true
		}
	}
	return append(words, word.String()), open
}
