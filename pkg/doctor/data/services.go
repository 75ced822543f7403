package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Service is one that a release of the loki chart renders.
type Service struct {
	Name     string
	Headless bool
	Ports    map[string]int32 // by name
}

type rendering struct {
	From      string     `json:"from"`
	Services  [][]string `json:"services"`
	Workloads []string   `json:"workloads"`
}

var loadServices = sync.OnceValue(func() map[string]map[string][]rendering {
	var f struct {
		Lineages map[string]map[string][]rendering `json:"lineages"`
	}
	must(json.Unmarshal(unzip(renderedServices), &f), "rendered-services.json.gz")
	return f.Lineages
})

// Names are the two names that all objects of the loki chart are made of:
// N (loki.name) and F (loki.fullname).
func Names(chart, release, nameOverride, fullnameOverride string) (name, fullname string) {
	name = chart
	if nameOverride != "" {
		name = nameOverride
	}
	switch {
	case fullnameOverride != "":
		fullname = fullnameOverride
	case strings.Contains(release, name): // contains, not a prefix
		fullname = release
	default:
		fullname = release + "-" + name
	}
	if len(fullname) > 63 {
		fullname = fullname[:63]
	}
	return name, strings.TrimSuffix(fullname, "-")
}

// The facts were rendered with the release "monitoring".
const renderedFullname, renderedName = "monitoring-loki", "loki"

// Services predicts the Services of a release of the loki chart. mode is the
// deployment mode (SingleBinary, SimpleScalable, Distributed, or "" for the
// default of the version). nil when the version is unknown.
func Services(lineage, version, mode, name, fullname string) []Service {
	r := renderingOf(lineage, version, mode)
	if r == nil {
		return nil
	}
	var out []Service
	for _, s := range r.Services {
		if len(s) < 3 {
			continue
		}
		svc := Service{Name: rename(s[0], name, fullname), Headless: s[1] == "headless", Ports: map[string]int32{}}
		for p := range strings.SplitSeq(s[2], ",") {
			port, rest, _ := strings.Cut(p, ":")
			number, _, _ := strings.Cut(rest, ">")
			if n, err := strconv.ParseInt(number, 10, 32); err == nil {
				svc.Ports[port] = int32(n)
			}
		}
		out = append(out, svc)
	}
	return out
}

func renderingOf(lineage, version, mode string) *rendering {
	line := "gloki"
	if lineage == LokiCommunity {
		line = "cloki"
		if Compare(version, "6.56.0") < 0 {
			line = "gloki"
		}
	}
	if lineage == LokiGEL {
		return nil
	}
	switch mode {
	case "Monolithic":
		mode = "SingleBinary"
	case "":
		mode = "default"
		if Compare(version, "6.0.0") < 0 {
			mode = "SimpleScalable"
		}
	}
	list := loadServices()[line][mode]
	var found *rendering
	for i := range list {
		if Compare(version, list[i].From) >= 0 {
			found = &list[i]
		}
	}
	return found
}

func rename(s, name, fullname string) string {
	if rest, ok := strings.CutPrefix(s, renderedFullname); ok {
		return fullname + rest
	}
	if rest, ok := strings.CutPrefix(s, renderedName); ok {
		return name + rest
	}
	return s
}

// ServiceNames are the names of Services, sorted: those that clients use first.
func ServiceNames(list []Service) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name)
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) && (isHelper(a) != isHelper(b)) {
			if isHelper(a) {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	return out
}

func isHelper(s string) bool {
	for _, suffix := range []string{"-headless", "-memberlist", "-canary", "-cache", "-exporter", "-discovery"} {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

// Renamed lists what Services are called before and after an upgrade, for
// those that one version has and the other calls differently or lacks.
func Renamed(from, to []Service) (gone []string) {
	for _, a := range from {
		if !slices.ContainsFunc(to, func(b Service) bool { return a.Name == b.Name }) {
			gone = append(gone, a.Name)
		}
	}
	slices.Sort(gone)
	return gone
}

// String is name with its ports.
func (s Service) String() string {
	var ports []string
	for _, n := range s.Ports {
		ports = append(ports, fmt.Sprint(n))
	}
	slices.Sort(ports)
	return s.Name + ":" + strings.Join(ports, ",")
}
