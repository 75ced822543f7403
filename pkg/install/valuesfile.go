package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// ValueError is one thing that is wrong with the values.
type ValueError struct {
	// Source is the file or flag, "" where only the value is known. Line and
	// Column count from 1; 0 where there is no text.
	Source       string
	Line, Column int
	// Path is the value's path, such as storage.size.
	Path string
	Msg  string
}

func (e *ValueError) Error() string {
	where := e.Source
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", e.Source, e.Line, e.Column)
	}
	if where != "" {
		where += ": "
	}
	if e.Path == "" {
		return where + e.Msg
	}
	return where + e.Path + ": " + e.Msg
}

var (
	valuesType = reflect.TypeFor[Values]()
	autoType   = reflect.TypeFor[Auto]()
)

// ParseValues lays a values file over base. Every key must be known, stand in
// its place and have a value of its type; all that is wrong is reported at
// once, with positions and the nearest right key. A file without content
// changes nothing.
func ParseValues(base Values, source string, data []byte) (Values, error) {
	var content *yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return base, fmt.Errorf("%s: %w", source, err)
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		if content != nil {
			n := doc.Content[0]
			return base, &ValueError{Source: source, Line: n.Line, Column: n.Column, Msg: "a values file is one document: put what stands behind --- into the first one, or into a file of its own"}
		}
		content = doc.Content[0]
	}
	if content == nil {
		return base, nil
	}
	return overlay(base, source, content, true)
}

// secretSounding are keys whose values no message repeats.
var secretSounding = regexp.MustCompile(`(?i)(password|passwd|token|htpasswd|auth\.secret$|tls\.key)`)

// SetValue lays one assignment over base, as `--set storage.size=4Gi` gives it.
// The value is YAML: lists and maps are written as [a, b] and {a: b}.
func SetValue(base Values, assignment string) (Values, error) {
	path, value, found := strings.Cut(assignment, "=")
	source := "--set " + assignment
	if found && secretSounding.MatchString(path) {
		source = "--set " + path + "=…" // it may be one, given in the wrong place
	}
	if !found || path == "" {
		return base, &ValueError{Source: source, Msg: "write KEY=VALUE, for example storage.size=4Gi"}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
		return base, fmt.Errorf("%s: %w", source, err)
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
	if len(doc.Content) > 0 {
		node = doc.Content[0]
	}
	keys := strings.Split(path, ".")
	// The keys of a node selector have dots of their own.
	if len(keys) > 2 && keys[0] == "nodeSelector" {
		keys = []string{keys[0], strings.Join(keys[1:], ".")}
	}
	whole := len(keys) == 1
	for _, key := range slices.Backward(keys) {
		node = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, node}}
	}
	unplace(node)
	return overlay(base, source, node, whole)
}

// unplace takes out positions: an argument has no lines.
func unplace(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	for _, c := range n.Content {
		unplace(c)
	}
}

// overlay lays a tree over base. whole says that maps of names (a node selector,
// limits) replace what base has, as lists always do: one that could only grow
// could not be undone.
func overlay(base Values, source string, root *yaml.Node, whole bool) (Values, error) {
	c := checker{source: source}
	if c.node(root, valuesType, ""); len(c.errs) > 0 {
		return base, errors.Join(c.errs...)
	}
	text, err := yaml.Marshal(root)
	if err != nil {
		return base, fmt.Errorf("%s: %w", source, err)
	}
	out := base
	// Never write into the maps of base.
	out.NodeSelector = maps.Clone(base.NodeSelector)
	if whole && has(root, "nodeSelector") {
		out.NodeSelector = nil
	}
	if whole && has(root, "limits") {
		out.Limits = nil
	}
	if err := sigsyaml.UnmarshalStrict(text, &out); err != nil {
		return base, fmt.Errorf("%s: %w", source, err)
	}
	if err := out.Validate(); err != nil {
		return base, &InvalidError{Values: out, Err: c.locate(err, root)}
	}
	return out, nil
}

// InvalidError says that the keys are known and have values of their types, and
// that the values do not fit: what is laid over Values next may mend it.
type InvalidError struct {
	Values Values
	Err    error
}

func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *InvalidError) Unwrap() error { return e.Err }

func has(root *yaml.Node, key string) bool {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == key {
			return true
		}
	}
	return false
}

// checker compares a YAML tree with a Go type.
type checker struct {
	source string
	errs   []error
}

func (c *checker) fail(n *yaml.Node, path, format string, args ...any) {
	c.errs = append(c.errs, &ValueError{Source: c.source, Line: n.Line, Column: n.Column, Path: path, Msg: fmt.Sprintf(format, args...)})
}

func (c *checker) node(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		c.fail(n, path, "has no value: leave the key out for the default")
		return
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == autoType {
		if c.is(n, yaml.ScalarNode, path, "auto, true or false") && n.Tag != "!!bool" && n.Value != string(AutoDetect) {
			c.fail(n, path, "must be auto, true or false, not %q", n.Value)
		}
		return
	}
	switch t.Kind() {
	case reflect.Interface: // judged by what reads it
	case reflect.Struct:
		c.mapping(n, t, path)
	case reflect.Map:
		if !c.is(n, yaml.MappingNode, path, mapOf(t)) {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.node(n.Content[i+1], t.Elem(), join(path, n.Content[i].Value))
		}
	case reflect.Slice:
		if !c.is(n, yaml.SequenceNode, path, "a list") {
			return
		}
		for i, e := range n.Content {
			c.node(e, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.String:
		if c.is(n, yaml.ScalarNode, path, "text") {
			// retention: 0 and tag: 1.2 are what a person means by text.
			if n.Tag != "!!bool" {
				n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
				return
			}
			c.fail(n, path, "must be text, not %s: put it in quotes", n.Value)
		}
	case reflect.Bool:
		if c.is(n, yaml.ScalarNode, path, "true or false") && n.Tag != "!!bool" {
			c.fail(n, path, "must be true or false, not %q", n.Value)
		}
	case reflect.Int64, reflect.Int32:
		if c.is(n, yaml.ScalarNode, path, "a number") && n.Tag != "!!int" {
			c.fail(n, path, "must be a number, not %q", n.Value)
		}
	}
}

func mapOf(t reflect.Type) string {
	if t.Elem().Kind() == reflect.Interface {
		return "a map of names to values"
	}
	return "a map of names to text"
}

func (c *checker) is(n *yaml.Node, kind yaml.Kind, path, what string) bool {
	if n.Kind == kind {
		return true
	}
	got := map[yaml.Kind]string{yaml.MappingNode: "a map", yaml.SequenceNode: "a list", yaml.ScalarNode: fmt.Sprintf("%q", n.Value)}[n.Kind]
	c.fail(n, path, "must be %s, not %s", what, got)
	return false
}

func (c *checker) mapping(n *yaml.Node, t reflect.Type, path string) {
	if !c.is(n, yaml.MappingNode, path, "a map with the keys "+strings.Join(keysOf(t), ", ")) {
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if line, twice := seen[key.Value]; twice {
			c.fail(key, join(path, key.Value), "is given twice, first in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		ft, ok := fieldOf(t, key.Value)
		if !ok {
			c.fail(key, join(path, key.Value), "unknown key%s", hint(t, path, key.Value))
			continue
		}
		c.node(value, ft, join(path, key.Value))
	}
}

// locate gives the positions of the file to errors of values that stand in it.
func (c *checker) locate(err error, root *yaml.Node) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		var v *ValueError
		if errors.As(e, &v) {
			at := *v
			at.Source = c.source
			if n := find(root, v.Path); n != nil {
				at.Line, at.Column = n.Line, n.Column
			}
			e = &at
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// find returns the node of a path, or nil where the tree does not have it.
func find(n *yaml.Node, path string) *yaml.Node {
	for key := range strings.SplitSeq(path, ".") {
		key, index, indexed := strings.Cut(key, "[")
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = n.Content[i+1]
			}
		}
		if next == nil {
			return nil
		}
		n = next
		if i := int(index0(index)); indexed && i < len(n.Content) {
			n = n.Content[i]
		}
	}
	return n
}

// index0 reads "3]".
func index0(s string) (n uint) {
	for _, r := range strings.TrimSuffix(s, "]") {
		n = n*10 + uint(r-'0')
	}
	return n
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func keysOf(t reflect.Type) (keys []string) {
	for f := range t.Fields() {
		keys = append(keys, jsonName(f))
	}
	return keys
}

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for f := range t.Fields() {
		if jsonName(f) == key {
			return f.Type, true
		}
	}
	return nil, false
}

// elsewhere are keys that other log stacks' charts use for what a value of
// ours does: Loki's and Alloy's Helm charts, and kubectl's own words.
var elsewhere = map[string]string{
	"persistence.size": "storage.size", "singleBinary.persistence.size": "storage.size",
	"persistence.storageClass": "storage.class", "persistence.storageClassName": "storage.class",
	"singleBinary.persistence.storageClass": "storage.class", "storageClass": "storage.class", "storageClassName": "storage.class",
	"persistence.enabled": "storage.ephemeral (the opposite)", "singleBinary.persistence.enabled": "storage.ephemeral (the opposite)",
	"loki.limits_config.retention_period": "retention", "retention_period": "retention", "retentionPeriod": "retention",
	"resources.limits.memory": "resources.memory", "resources.requests.memory": "resources.memory", "resources.requests.cpu": "resources.cpu",
	"imagePullSecrets": "image.pullSecrets", "imagePullPolicy": "image.pullPolicy", "priorityClassName": "priorityClass",
	"networkPolicy.enabled": "networkPolicy", "image.name": "image.repository",
	"loki.limits_config": "limits", "limits_config": "limits", "serviceMonitor.enabled": "serviceMonitor", "monitoring.serviceMonitor.enabled": "serviceMonitor",
	"rbac.namespaces": "namespaces", "gateway.basicAuth.existingSecret": "auth.secretName",
	"basicAuth.existingSecret": "auth.secretName", "global.imageRegistry": "image.registry", "imageRegistry": "image.registry", "registry": "image.registry",
	"replicaCount": "replicas", "singleBinary.replicas": "replicas", "logstack.replicas": "replicas",
	"tls.existingSecret": "tls.secretName", "auth.existingSecret": "auth.secretName",
	"auth.token": "auth.secretName (a Secret with it)", "auth.htpasswd": "auth.secretName (a Secret with it)",
	"auth.username": "auth.secretName (a Secret with it)", "auth.password": "auth.secretName (a Secret with it)",
	"auth.secret": "auth.secretName", "tls.secret": "tls.secretName", "tls.enabled": "tls.secretName", "auth.enabled": "auth.secretName",
	"tls.crt": "tls.secretName (a Secret with it)", "tls.key": "tls.secretName (a Secret with it)", "tls.cert": "tls.secretName (a Secret with it)",
	"memory": "resources.memory", "cpu": "resources.cpu", "size": "storage.size", "ephemeral": "storage.ephemeral",
}

// hint names the key that was probably meant.
func hint(t reflect.Type, path, key string) string {
	full := join(path, key)
	if right := elsewhere[full]; right != "" {
		return "; here it is " + right
	}
	// A group of others' keys, such as resources.limits, is not our key of that name.
	if rights := below(full); path != "" && len(rights) > 0 {
		return "; here it is " + strings.Join(rights, " or ")
	}
	for _, k := range keysOf(t) {
		if strings.EqualFold(k, key) {
			return fmt.Sprintf("; did you mean %s?", join(path, k))
		}
	}
	all := allKeys(valuesType, "")
	for _, k := range all {
		if strings.EqualFold(k[strings.LastIndexByte(k, '.')+1:], key) && !strings.EqualFold(k, full) {
			if !strings.Contains(k, ".") {
				return "; it belongs to the top level"
			}
			return "; it belongs to " + k
		}
	}
	if near := nearest(key, keysOf(t)); near != "" {
		return fmt.Sprintf("; did you mean %s?", join(path, near))
	}
	if rights := below(full); len(rights) > 0 {
		return "; here it is " + strings.Join(rights, " or ")
	}
	return "; there are " + strings.Join(keysOf(t), ", ")
}

// below lists what of ours stands for the foreign keys under a path, as for
// resources.limits.
func below(path string) (rights []string) {
	for foreign, right := range elsewhere {
		if strings.HasPrefix(foreign, path+".") {
			rights = append(rights, right)
		}
	}
	slices.Sort(rights)
	return slices.Compact(rights)
}

func allKeys(t reflect.Type, path string) (keys []string) {
	for f := range t.Fields() {
		key := join(path, jsonName(f))
		keys = append(keys, key)
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, allKeys(f.Type, key)...)
		}
	}
	return keys
}

// nearest is the candidate within two typing errors, "" where there is none.
func nearest(word string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(c)); d < least && d < len(c)/2+1 {
			best, least = c, d
		}
	}
	return best
}
