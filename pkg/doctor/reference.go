package doctor

import (
	"fmt"
	"strings"
)

// Reference is the text of docs/checks.md: every check of the registry.
func Reference() string {
	var b strings.Builder
	all := Checks()
	fmt.Fprintf(&b, `# The checks of kubectl logstack doctor

Generated from the registry (go test ./pkg/doctor -update). %d checks. `+"`kubectl logstack doctor --explain CODE`"+` prints the same
without a network. Codes are permanent: a code is retired, never used for anything else.

A check ends in ok, a finding (error: broken now; warning: will break, loses data or costs; info), or skip: something could not be
looked at, which is never a pass. `+"`--only` and `--skip`"+` take codes, beginnings of codes (LS05) and the names of categories in
brackets below.

| exit code | meaning, the same in every output format |
|---|---|
| 0 | nothing found of at least `+"`--fail-on`"+` (default: error) |
| 1 | findings |
| 2 | wrong usage, or a file that cannot be read |
| 3 | the cluster was not reached, or everything was skipped (with `+"`--strict`"+`: anything) |

`, len(all))
	category := ""
	for i := range all {
		c := &all[i]
		if c.Category != category {
			category = c.Category
			fmt.Fprintf(&b, "## %s [%s]\n\n", category, slugOf(c))
		}
		var looks []string
		for _, in := range c.inputs() {
			looks = append(looks, string(in))
		}
		fmt.Fprintf(&b, "### %s: %s\n\n%s at worst. Looks at %s.\n\n%s\n\nFix: %s\n\n", c.Code, c.Title, title(string(c.Severity)), strings.Join(looks, ", "), c.Explain, c.Fix)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
