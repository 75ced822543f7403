package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// The categories, in the order of a report, with the two digits of their codes.
var categories = []struct {
	digits, name, slug string
	checks             func() []Check
}{
	{"01", "Cluster access and versions", "cluster", clusterChecks},
	{"02", "Rights", "rights", rightsChecks},
	{"03", "Namespace and PodSecurity", "security", securityChecks},
	{"04", "Workloads", "workloads", workloadChecks},
	{"05", "Services and DNS", "services", serviceChecks},
	{"06", "Chart values and releases", "charts", chartChecks},
	{"07", "Collector configurations", "collectors", collectorChecks},
	{"08", "Grafana", "grafana", grafanaChecks},
	{"09", "Storage", "storage", storageChecks},
	{"10", "Log flow", "flow", flowChecks},
	{"11", "Time", "time", timeChecks},
	{"12", "Security", "hygiene", hygieneChecks},
}

// Checks returns the one ordered list.
func Checks() []Check {
	var out []Check
	for _, c := range categories {
		for _, check := range c.checks() {
			check.Category = c.name
			out = append(out, check)
		}
	}
	return out
}

// Lookup finds a check by its code, in any case.
func Lookup(code string) (Check, bool) {
	for _, c := range Checks() {
		if strings.EqualFold(c.Code, code) {
			return c, true
		}
	}
	return Check{}, false
}

// retired are codes that were given to checks that are gone. They stay here: a
// code means one thing for ever, in suppressions and in scripts.
var retired = map[string]string{}

// Retired says why a check is gone, and whether there was one with that code.
func Retired(code string) (why string, was bool) {
	why, was = retired[strings.ToUpper(code)]
	return why, was
}

// NearestCode is the check that a wrong code most likely means, with its title:
// the one with the nearest number among those that differ in one or two
// characters. For a word, it is the first one whose title has it. "" when none
// comes close.
func NearestCode(word string) string {
	word = strings.ToUpper(strings.TrimSpace(word))
	if len(word) < 3 {
		return ""
	}
	best, least := "", 0
	for _, c := range Checks() {
		d := levenshtein.ComputeDistance(word, c.Code)
		if d > 2 {
			if best == "" && strings.Contains(strings.ToUpper(c.Title), word) {
				best, least = c.Code+" ("+c.Title+")", 1<<30
			}
			continue
		}
		if d = d*10000 + apartCodes(word, c.Code); best == "" || d < least {
			best, least = c.Code+" ("+c.Title+")", d
		}
	}
	return best
}

// apartCodes is the distance of two codes as numbers, 0 when one is no code.
func apartCodes(a, b string) int {
	x, err1 := strconv.Atoi(strings.TrimPrefix(a, "LS"))
	y, err2 := strconv.Atoi(strings.TrimPrefix(b, "LS"))
	if err1 != nil || err2 != nil {
		return 0
	}
	return max(x-y, y-x)
}

// slugOf is the short name of a check's category, for --only and --skip.
func slugOf(c *Check) string {
	for _, cat := range categories {
		if strings.HasPrefix(c.Code, "LS"+cat.digits) {
			return cat.slug
		}
	}
	return ""
}

// Slugs are the short names of the categories.
func Slugs() []string {
	var out []string
	for _, c := range categories {
		out = append(out, c.slug)
	}
	return out
}

func selected(c *Check, only, skip []string) bool {
	return (len(only) == 0 || picks(c, only)) && !picks(c, skip)
}

func picks(c *Check, words []string) bool {
	for _, w := range words {
		if w = strings.TrimSpace(w); w == slugOf(c) || len(w) >= 4 && strings.HasPrefix(c.Code, strings.ToUpper(w)) {
			return true
		}
	}
	return false
}

// ValidateSelection refuses a word of --only or --skip that picks no check.
func ValidateSelection(words []string) error {
	all := Checks()
next:
	for _, w := range words {
		for i := range all {
			if picks(&all[i], []string{w}) {
				continue next
			}
		}
		if near := nearest(w, Slugs()); near != "" {
			return fmt.Errorf("%q is no check; did you mean %s?", w, near)
		}
		return fmt.Errorf("%q is no check: give a code (LS0501), the beginning of codes (LS05) or a category (%s)", w, strings.Join(Slugs(), ", "))
	}
	return nil
}
