package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// table prints one line per finding, for grep and cut.
func table(w io.Writer, r *doctor.Report, paint Painter) error {
	header := []string{"CODE", "STATUS", "OBJECT", "DETAIL"}
	rows := [][]string{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Status == doctor.None {
			continue
		}
		status := string(f.Status)
		if f.Suppressed != "" {
			status = "suppressed"
		}
		detail, _, _ := strings.Cut(f.Detail, "\n")
		if f.Status == doctor.OK && detail == "" {
			detail = f.Title
		}
		rows = append(rows, []string{f.Code, status, f.Object, detail})
	}
	width := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for c, cell := range row {
			width[c] = max(width[c], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for n, row := range append([][]string{header}, rows...) {
		for c, cell := range row {
			pad := strings.Repeat(" ", width[c]-len([]rune(cell))+2)
			if c == len(row)-1 {
				pad = ""
			}
			if c == 1 && n > 0 {
				cell = paint(cell, cell)
			}
			b.WriteString(cell + pad)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%s\n", r.Summary)
	_, err := io.WriteString(w, b.String())
	return err
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// junit: errors and warnings are failures (the type tells them apart), skips
// and what has nothing to look at are skipped.
func junit(w io.Writer, r *doctor.Report) error {
	var all junitSuites
	for i := range r.Findings {
		f := &r.Findings[i]
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != f.Category {
			all.Suites = append(all.Suites, junitSuite{Name: f.Category})
		}
		s := &all.Suites[len(all.Suites)-1]
		c := junitCase{Class: f.Code, Name: f.Title}
		if f.Ref.File != "" {
			c.File, c.Line = f.Ref.File, f.Ref.Line
		}
		if f.Object != "" {
			c.Name += " [" + f.Object + "]"
		}
		switch {
		case f.Suppressed != "":
			c.Skipped = &junitMessage{Message: "suppressed: " + f.Suppressed}
		case f.Problem():
			c.Failure = &junitMessage{Type: string(f.Status), Message: f.Detail, Text: body(f)}
		case f.Status == doctor.Skip, f.Status == doctor.None:
			c.Skipped = &junitMessage{Message: f.Detail}
		default:
			c.Out = f.Detail
		}
		s.Cases = append(s.Cases, c)
		s.Tests++
		all.Tests++
		if c.Failure != nil {
			s.Failures++
			all.Failures++
		}
		if c.Skipped != nil {
			s.Skipped++
			all.Skipped++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func body(f *doctor.Finding) string {
	s := f.Detail
	if f.Object != "" {
		s = f.Object + ": " + s
	}
	if f.Fix != "" {
		s += "\nfix: " + f.Fix
	}
	return s
}

// The part of SARIF 2.1.0 that code scanning reads.
type (
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID      string            `json:"id"`
		Name    string            `json:"name"`
		Short   sarifText         `json:"shortDescription"`
		Full    sarifText         `json:"fullDescription"`
		Help    sarifText         `json:"help"`
		Default map[string]string `json:"defaultConfiguration"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifPhysical struct {
		Artifact map[string]string `json:"artifactLocation"`
		Region   *sarifRegion      `json:"region,omitempty"`
	}
	sarifLocation struct {
		Physical *sarifPhysical      `json:"physicalLocation,omitempty"`
		Logical  []map[string]string `json:"logicalLocations,omitempty"`
	}
	sarifResult struct {
		RuleID       string              `json:"ruleId"`
		Kind         string              `json:"kind"`
		Level        string              `json:"level"`
		Message      sarifText           `json:"message"`
		Locations    []sarifLocation     `json:"locations,omitempty"`
		Suppressions []map[string]string `json:"suppressions,omitempty"`
		Properties   map[string]any      `json:"properties,omitempty"`
	}
)

var sarifLevels = map[doctor.Status]string{doctor.Error: "error", doctor.Warning: "warning", doctor.Info: "note"}

// sarif holds every finding: those that passed or were skipped have a kind of
// their own (pass, notApplicable, open).
func sarif(w io.Writer, r *doctor.Report) error {
	var rules []sarifRule
	used := map[string]bool{}
	for i := range r.Findings {
		used[r.Findings[i].Code] = true
	}
	for _, c := range doctor.Checks() {
		if used[c.Code] {
			rules = append(rules, sarifRule{c.Code, c.Category, sarifText{c.Title}, sarifText{c.Explain}, sarifText{c.Fix}, map[string]string{"level": sarifLevels[c.Severity]}})
		}
	}
	results := []sarifResult{}
	for i := range r.Findings {
		results = append(results, sarifOf(&r.Findings[i]))
	}
	doc := map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []any{map[string]any{
			"tool": map[string]any{"driver": map[string]any{
				"name": "kubectl logstack doctor", "version": version.Version,
				"informationUri": "https://github.com/logstack-dev/kubectl-logstack", "rules": rules,
			}},
			"results":    results,
			"properties": map[string]any{"summary": r.Summary, "exitCode": r.ExitCode},
		}},
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

func sarifOf(f *doctor.Finding) sarifResult {
	res := sarifResult{RuleID: f.Code, Kind: "fail", Level: sarifLevels[f.Status], Message: sarifText{f.Detail}, Properties: map[string]any{"status": f.Status}}
	switch f.Status {
	case doctor.OK:
		res.Kind, res.Level = "pass", "none"
	case doctor.None:
		res.Kind, res.Level = "notApplicable", "none"
	case doctor.Skip:
		res.Kind, res.Level = "open", "none"
	}
	if res.Message.Text == "" {
		res.Message.Text = f.Title
	}
	if f.Fix != "" {
		res.Properties["fix"] = f.Fix
	}
	var loc sarifLocation
	if f.Ref.File != "" {
		loc.Physical = &sarifPhysical{Artifact: map[string]string{"uri": filepath.ToSlash(f.Ref.File)}}
		if f.Ref.Line > 0 {
			loc.Physical.Region = &sarifRegion{f.Ref.Line, f.Ref.Column}
		}
	}
	if f.Object != "" {
		loc.Logical = []map[string]string{{"fullyQualifiedName": f.Object}}
	}
	if loc.Physical != nil || loc.Logical != nil {
		res.Locations = []sarifLocation{loc}
	}
	if f.Suppressed != "" {
		res.Suppressions = []map[string]string{{"kind": "external", "justification": f.Suppressed}}
	}
	return res
}

// github prints workflow commands: annotations of the changed lines. What
// passed has none; the summary is a notice.
func github(w io.Writer, r *doctor.Report) error {
	commands := map[doctor.Status]string{doctor.Error: "error", doctor.Warning: "warning", doctor.Info: "notice", doctor.Skip: "notice"}
	var b strings.Builder
	for i := range r.Findings {
		f := &r.Findings[i]
		cmd := commands[f.Status]
		if cmd == "" || f.Suppressed != "" {
			continue
		}
		var props []string
		if f.Ref.File != "" {
			props = append(props, "file="+property(f.Ref.File))
			if f.Ref.Line > 0 {
				props = append(props, fmt.Sprintf("line=%d", f.Ref.Line))
			}
			if f.Ref.Column > 0 {
				props = append(props, fmt.Sprintf("col=%d", f.Ref.Column))
			}
		}
		props = append(props, "title="+property(f.Code+" "+f.Title))
		fmt.Fprintf(&b, "::%s %s::%s\n", cmd, strings.Join(props, ","), data(body(f)))
	}
	fmt.Fprintf(&b, "::notice title=kubectl logstack doctor::%s\n", data(r.Summary))
	_, err := io.WriteString(w, b.String())
	return err
}

// GitHub's escapes for the data and the properties of a workflow command.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
