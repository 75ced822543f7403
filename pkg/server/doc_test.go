package server

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// namesOf is a registerer that remembers the names of metrics.
type namesOf struct {
	prometheus.Registerer
	names map[string]bool
}

var fqName = regexp.MustCompile(`fqName: "([^"]*)"`)

func (n namesOf) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		ch := make(chan *prometheus.Desc, 10)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			n.names[fqName.FindStringSubmatch(d.String())[1]] = true
		}
	}
	n.Registerer.MustRegister(cs...)
}

// TestMetricsDocumented compares the metrics that exist with the package comment.
func TestMetricsDocumented(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for w := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		if strings.HasPrefix(w, "logstack_") || strings.HasPrefix(w, "loki_") {
			documented[w] = true
		}
	}
	reg := namesOf{prometheus.NewRegistry(), map[string]bool{}}
	newMetrics(reg)
	for name := range reg.names {
		if !documented[name] {
			t.Errorf("%s is not in the package comment", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("the package comment tells of %s, which does not exist", name)
	}
}
