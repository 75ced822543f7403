package conf

import (
	"net/url"
	"strings"

	"github.com/prometheus/prometheus/model/relabel"
)

// Pos is a place in a configuration, counted from 1; zero is unknown.
type Pos struct{ Line, Column int }

// Diagnostic is a mistake of syntax, or what a product refuses; Fix is what to
// write, "" when the place says all.
type Diagnostic struct {
	Pos     Pos
	Message string
	Fix     string
}

// Endpoint is where lines are sent to.
type Endpoint struct {
	// URL as written, or put together from host, port and path.
	URL string
	Pos Pos
	// Component names it ("loki.write.default", "clients[0]").
	Component string
	// Loki is true for Loki's push API, as opposed to OTLP, Elasticsearch, ...
	Loki bool
	// BaseURL is true when the product adds the path itself.
	BaseURL bool
	// Tenant says that a tenant is named, Auth that credentials are.
	Tenant, Auth bool
	// Dynamic endpoints depend on the environment.
	Dynamic bool
}

// Parse takes the URL apart; nil when it is dynamic or no URL.
func (e *Endpoint) Parse() *url.URL {
	if e.Dynamic || strings.Contains(e.URL, "${") || strings.Contains(e.URL, "{{") {
		return nil
	}
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" {
		return nil
	}
	return u
}

// Rule is a relabel rule with its places.
type Rule struct {
	Config *relabel.Config
	// Regex and Replacement are as written; Groups counts the groups.
	Regex, Replacement string
	Groups             int
	Pos, ReplPos       Pos
	Component          string
	// Err is a regular expression that does not compile.
	Err error
	// Dynamic rules depend on the environment and cannot be simulated.
	Dynamic bool
}

// SourceKind says how lines are read.
type SourceKind string

// The kinds of sources.
const (
	API  SourceKind = "api"  // through the Kubernetes API
	File SourceKind = "file" // from files of the node
)

// Source reads lines.
type Source struct {
	Kind      SourceKind
	Component string
	Pos       Pos
	// Chains are the ways from discovery to this source.
	Chains []Chain
	// Globs says that patterns in paths are expanded.
	Globs bool
	// Clustering: instances share the work.
	Clustering bool
	// Parses says that a stage parses the container runtime's line format, or
	// that none is needed.
	Parses bool
	// PodLogs: discovers by itself.
	PodLogs bool
	// Reaches says that its lines reach a writer.
	Reaches bool
	// SelfLimited sources read their own node only, by themselves.
	SelfLimited bool
}

// Chain is one way from a discovery to a source.
type Chain struct {
	// Discovery names where targets come from; empty for literal targets.
	Discovery string
	Pos       Pos
	// Pods: a Kubernetes discovery of role pod.
	Pods bool
	// NodeLimited: a selector keeps the pods of one node.
	NodeLimited bool
	// Namespaces limits the discovery; nil is all.
	Namespaces []string
	Rules      []Rule
	// Paths are literal paths (__path__ of literal targets).
	Paths   []string
	PathPos Pos
}

// Literal is a value with its place.
type Literal struct {
	Value string
	Pos   Pos
	Key   string
}

// Dangling is a name that nothing defines.
type Dangling struct {
	Pos           Pos
	In, Attribute string // which component names it, and where
	Name          string
	Defined       []string // what could be meant
}

// LooseEnd is a component whose lines go nowhere, or that gets none.
type LooseEnd struct {
	Pos       Pos
	Component string
	Why, Fix  string
	// Lost says that lines are read and thrown away.
	Lost bool
}

// Config is a configuration in terms that the products share.
type Config struct {
	// Errors are mistakes of syntax: nothing else is known then. Mistakes are
	// what the product refuses although it can be read.
	Errors, Mistakes []Diagnostic
	// Graphed says that Dangling and Loose were looked for: in Vector's and
	// Fluent Bit's configurations that are all in one text.
	Graphed  bool
	Dangling []Dangling
	Loose    []LooseEnd
	// Wholesale are label names that stand for all labels of a pod.
	Wholesale []Literal
	Endpoints []Endpoint
	Sources   []Source
	// Labels are those that become stream labels by stages.
	Labels []Literal
	// Secrets are credentials that stand in the configuration.
	Secrets []Literal
	// Alloy is the component graph, nil for other products.
	Alloy *Alloy
}

// Parse reads a configuration of a product: alloy, promtail, fluent-bit,
// vector, opentelemetry-collector. nil for products it does not know.
func Parse(product, text string) *Config {
	switch product {
	case "alloy", "grafana-agent":
		return parseAlloy(text)
	case "promtail":
		return parsePromtail(text)
	case "fluent-bit":
		return parseFluentBit(text)
	case "vector":
		return parseVector(text)
	case "opentelemetry-collector":
		return parseOTel(text)
	}
	return nil
}

// secretNames are keys that hold credentials.
func secretName(key string) bool {
	switch strings.ToLower(key) {
	case "password", "bearer_token", "credentials", "http_passwd", "client_secret", "token", "access_key", "secret_key", "secret_access_key":
		return true
	}
	return false
}
