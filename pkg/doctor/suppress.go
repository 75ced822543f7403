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
	// Code is a code, the beginning of codes (LS05) or a category (charts).
	Code string `yaml:"code"`
	// Object is a glob (path.Match) for the finding's object or file; empty is any.
	Object string `yaml:"object"`
	// Reason is required: somebody will ask.
	Reason string `yaml:"reason"`
	// Until is the last day (2026-12-31) on which it holds; empty is for ever.
	Until string `yaml:"until"`
}

// suppressionKeys are the keys of an entry.
var suppressionKeys = []string{"code", "object", "reason", "until"}

// Ended says whether the last day is over. A date that cannot be read has no end
// that anybody knows of: it has ended.
func (s *Suppression) Ended(now time.Time) bool {
	if s.Until == "" {
		return false
	}
	day, err := time.Parse(time.DateOnly, s.Until)
	return err != nil || !now.Before(day.AddDate(0, 0, 1))
}

// SuppressionsFile is the name that is looked for in the working directory.
const SuppressionsFile = ".logstack-doctor.yaml"

// ParseSuppressions reads a suppressions file:
//
//	suppressions:
//	  - {code: LS0608, object: "*", reason: "we stay on 6.55 until March", until: 2027-03-31}
//
// Unknown keys and codes, missing reasons, bad dates and further documents are
// errors: a suppression that does not hold must not look as if it did.
func ParseSuppressions(text []byte) ([]Suppression, error) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document: put all suppressions into one list", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	list, err := suppressionList(doc.Content[0])
	if err != nil {
		return nil, err
	}
	var out []Suppression
	var errs []error
	for _, n := range list {
		s, err := suppressionOf(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s)
	}
	return out, errors.Join(errs...)
}

// suppressionList is the value of the file's only key.
func suppressionList(root *yaml.Node) ([]*yaml.Node, error) {
	if root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: a mapping with the key suppressions is wanted", root.Line)
	}
	var list []*yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		switch {
		case k.Value != "suppressions":
			return nil, fmt.Errorf("line %d: unknown key %q; it is suppressions", k.Line, k.Value)
		case v.Kind != yaml.SequenceNode && v.Tag != "!!null":
			return nil, fmt.Errorf("line %d: suppressions is a list", v.Line)
		}
		list = append(list, v.Content...)
	}
	return list, nil
}

// suppressionOf reads one entry; the error holds all that is wrong with it.
func suppressionOf(n *yaml.Node) (Suppression, error) {
	var s Suppression
	var errs []error
	bad := func(at *yaml.Node, format string, args ...any) {
		errs = append(errs, fmt.Errorf("line %d: "+format, append([]any{at.Line}, args...)...))
	}
	if n.Kind != yaml.MappingNode {
		bad(n, "an entry is a mapping: {code: LS0608, reason: why}")
		return s, errors.Join(errs...)
	}
	fields := map[string]*string{"code": &s.Code, "object": &s.Object, "reason": &s.Reason, "until": &s.Until}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		field := fields[k.Value]
		switch near := nearest(k.Value, suppressionKeys); {
		case field == nil && near != "" && k.Value != "id":
			bad(k, "unknown key %q; did you mean %s?", k.Value, near)
		case field == nil:
			bad(k, "unknown key %q; there are %s", k.Value, strings.Join(suppressionKeys, ", "))
		case v.Kind != yaml.ScalarNode:
			bad(v, "%s is one word or text", k.Value)
		case v.Tag != "!!null":
			*field = v.Value
		}
	}
	if len(errs) > 0 {
		return s, errors.Join(errs...)
	}
	if err := ValidateSelection([]string{s.Code}); err != nil {
		bad(n, "code: %w", err)
	}
	if strings.TrimSpace(s.Reason) == "" {
		bad(n, "a reason is required")
	}
	if _, err := path.Match(s.Object, ""); err != nil {
		bad(n, "object: %w", err)
	}
	if _, err := time.Parse(time.DateOnly, s.Until); s.Until != "" && err != nil {
		bad(n, "until: %q is no date like 2026-12-31", s.Until)
	}
	return s, errors.Join(errs...)
}

func suppress(f *Finding, all []Suppression, now time.Time) {
	if f.Status == OK || f.Status == None || f.Status == Skip {
		return
	}
	for i := range all {
		s := &all[i]
		if s.Ended(now) || !picks(&Check{Code: f.Code}, []string{s.Code}) || s.Object != "" && s.Object != "*" && !matches(s.Object, f) {
			continue
		}
		f.Suppressed = s.Reason
		return
	}
}
