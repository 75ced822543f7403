package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Suppression takes findings out of the judgement: they are shown as
// suppressed, with the reason, and count for nothing. It ends by itself.
type Suppression struct {
	// ID is a code or the beginning of codes (LS05).
	ID string `yaml:"id"`
	// Object is a glob (path.Match) for the finding's object or file; empty is any.
	Object string `yaml:"object"`
	// Reason is required: somebody will ask.
	Reason string `yaml:"reason"`
	// Until is the last day (2026-12-31) on which it holds; empty is for ever.
	Until string `yaml:"until"`
}

// SuppressionsFile is the name that is looked for in the working directory.
const SuppressionsFile = ".logstack-doctor.yaml"

// ParseSuppressions reads a suppressions file:
//
//	suppressions:
//	  - {id: LS0608, object: "*", reason: "we stay on 6.55 until March", until: 2027-03-31}
//
// Unknown keys, missing reasons and bad dates are errors: a suppression that
// does not hold must not look as if it did.
func ParseSuppressions(text []byte) ([]Suppression, error) {
	var f struct {
		Suppressions []Suppression `yaml:"suppressions"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var errs []error
	for i, s := range f.Suppressions {
		where := fmt.Sprintf("suppressions[%d]", i)
		if err := ValidateSelection([]string{s.ID}); err != nil {
			errs = append(errs, fmt.Errorf("%s: id: %w", where, err))
		}
		if strings.TrimSpace(s.Reason) == "" {
			errs = append(errs, fmt.Errorf("%s: a reason is required", where))
		}
		if _, err := path.Match(s.Object, ""); err != nil {
			errs = append(errs, fmt.Errorf("%s: object: %w", where, err))
		}
		if s.Until != "" {
			if _, err := time.Parse(time.DateOnly, s.Until); err != nil {
				errs = append(errs, fmt.Errorf("%s: until: a date like 2026-12-31: %w", where, err))
			}
		}
	}
	return f.Suppressions, errors.Join(errs...)
}

func suppress(f *Finding, all []Suppression, now time.Time) {
	if f.Status == OK || f.Status == None || f.Status == Skip {
		return
	}
	for _, s := range all {
		if !strings.HasPrefix(f.Code, strings.ToUpper(s.ID)) || s.Object != "" && s.Object != "*" && !matches(s.Object, f) {
			continue
		}
		if s.Until != "" {
			if day, err := time.Parse(time.DateOnly, s.Until); err != nil || !now.Before(day.AddDate(0, 0, 1)) {
				continue
			}
		}
		f.Suppressed = s.Reason
		return
	}
}
