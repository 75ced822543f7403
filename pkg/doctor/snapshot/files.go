package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"
)

// maxFileSize bounds what is read from one file.
const maxFileSize = 16 << 20

// FileError is a file that was named and cannot be used.
type FileError struct {
	File string
	Err  error
}

func (e *FileError) Error() string { return e.File + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// FileOptions say how files are to be understood.
type FileOptions struct {
	// Chart and Version are those of values files: "loki", "6.55.0"; Repo is
	// the repository's name or URL ("grafana", "grafana-community"). Empty
	// Chart: it is guessed from the keys.
	Chart, Version, Repo string
	// Release is the release name of values files.
	Release string
	// Namespace is where namespaced objects without a namespace go, and values.
	Namespace string
	// Stdin is read for the name "-".
	Stdin io.Reader
	// GuessChart names the chart that has these top-level values keys.
	GuessChart func(keys []string) string
}

// fileLoader reads files into a snapshot of their own.
type fileLoader struct {
	s    *Snapshot
	opts FileOptions
}

// loadFiles reads files and directories (walked, sorted by name).
func (s *Snapshot) loadFiles(names []string, opts FileOptions) error {
	l := &fileLoader{s: s, opts: opts}
	var errs []error
	for _, name := range names {
		if err := l.load(name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (l *fileLoader) load(name string) error {
	if name == "-" {
		if l.opts.Stdin == nil {
			return &FileError{"-", errors.New("there is no standard input")}
		}
		text, err := io.ReadAll(io.LimitReader(l.opts.Stdin, maxFileSize))
		if err != nil {
			return &FileError{"-", err}
		}
		return l.file("stdin", text, true)
	}
	info, err := os.Stat(name)
	if err != nil {
		return &FileError{name, errors.Unwrap(err)}
	}
	if !info.IsDir() {
		return l.read(name, true)
	}
	return l.directory(name)
}

// directory reads what is in a directory. One file, or directory below it, that
// cannot be read is a note and the others are examined; when nothing at all
// could be read, that is an error.
func (l *fileLoader) directory(name string) error {
	read := 0
	var unread []error
	err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == name:
			return err
		case err != nil:
			unread = append(unread, &FileError{path, unwrapped(err)})
			return fs.SkipDir
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != name:
			return filepath.SkipDir
		case !d.Type().IsRegular() || !known(path):
			return nil
		}
		if err := l.read(path, false); err != nil {
			unread = append(unread, err)
			return nil
		}
		read++
		return nil
	})
	switch {
	case err != nil:
		return &FileError{name, unwrapped(err)}
	case read == 0 && len(unread) > 0:
		return errors.Join(unread...)
	}
	for _, err := range unread {
		var fe *FileError
		if errors.As(err, &fe) {
			l.s.Notes = append(l.s.Notes, fe.File+": not read: "+fe.Err.Error())
		}
	}
	return nil
}

// unwrapped is an error of the file system without the name that we say anyway.
func unwrapped(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// known says whether a file of a directory is worth opening.
func known(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json", ".alloy", ".river", ".conf", ".toml":
		return true
	}
	return false
}

func (l *fileLoader) read(path string, named bool) error {
	f, err := os.Open(path)
	if err != nil {
		return &FileError{path, errors.Unwrap(err)}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return &FileError{path, err}
	}
	if len(text) > maxFileSize {
		return &FileError{path, fmt.Errorf("larger than %d MiB", maxFileSize>>20)}
	}
	return l.file(path, text, named)
}

// file takes a file apart. named is false for files found in a directory: what
// is not understood there gets a note instead of an error.
func (l *fileLoader) file(name string, text []byte, named bool) error {
	content := string(text)
	p := productOfConfig(name, content)
	switch ext := filepath.Ext(name); {
	case p == Vector && (ext == ".toml" || ext == ".json"), (p == Alloy || p == FluentBit) && ext != ".yaml" && ext != ".yml" && ext != ".json":
		l.config(p, FileText(name, content))
		return nil
	case ext == ".toml" && !named:
		return nil // every Rust and Python project has some
	case ext == ".conf" || ext == ".toml":
		return l.unknown(name, named, "it is no configuration that doctor knows")
	}
	if name == "stdin" && looksLikeAlloy(content) {
		l.config(Alloy, FileText(name, content))
		return nil
	}
	if !named && strings.Contains(content, "{{") && strings.Contains(filepath.ToSlash(name), "/templates/") {
		return nil // a chart's template is no YAML
	}
	lines := strings.Split(content, "\n")
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for empty := true; ; empty = false {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			if empty && named {
				return l.document(name, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}, lines, named)
			}
			return nil
		}
		if err != nil {
			if !named && strings.Contains(content, "{{") {
				l.s.Notes = append(l.s.Notes, name+": not read: it is a template")
				return nil
			}
			return &FileError{name, err}
		}
		if root := resolve(&doc); root != nil && root.Tag != "!!null" {
			if err := l.document(name, root, lines, named); err != nil {
				return err
			}
		}
	}
}

func looksLikeAlloy(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(line, "{") && !strings.Contains(line, ":") && (strings.HasPrefix(line, "loki.") || strings.HasPrefix(line, "discovery.") || strings.HasPrefix(line, "logging")) {
			return true
		}
	}
	return false
}

func (l *fileLoader) unknown(name string, named bool, why string) error {
	if named {
		return &FileError{name, errors.New(why)}
	}
	l.s.Notes = append(l.s.Notes, name+": not read: "+why)
	return nil
}

// document is one YAML document: an object, a configuration, or values.
func (l *fileLoader) document(name string, root *yaml.Node, lines []string, named bool) error {
	if root.Kind != yaml.MappingNode {
		return l.unknown(name, named, "it is no mapping")
	}
	api, kindNode := lookup(root, []string{"apiVersion"}), lookup(root, []string{"kind"})
	if api != nil && kindNode != nil && api.Kind == yaml.ScalarNode && kindNode.Kind == yaml.ScalarNode {
		return l.object(name, root, lines)
	}
	if p := productOfTree(root); p != "" {
		l.config(p, FileText(name, strings.Join(lines, "\n")))
		return nil
	}
	return l.values(name, root, lines, named)
}

// productOfTree recognises the YAML configurations by their top-level keys.
func productOfTree(root *yaml.Node) Product {
	has := func(k string) bool { return lookup(root, []string{k}) != nil }
	switch {
	case has("scrape_configs") && (has("clients") || has("positions") || has("server") || has("client")), has("clients") && has("positions"):
		return Promtail
	case has("sources") && has("sinks"):
		return Vector
	case has("pipeline") && (lookup(root, []string{"pipeline", "outputs"}) != nil || lookup(root, []string{"pipeline", "inputs"}) != nil):
		return FluentBit
	case has("receivers") && has("exporters") && has("service"):
		return OTel
	}
	return ""
}

func (l *fileLoader) config(p Product, t Text) {
	l.s.d.collectors = append(l.s.d.collectors, &Collector{Product: p, Config: t, Namespace: l.opts.Namespace})
}

// object decodes a manifest into its typed form and remembers where it stands.
func (l *fileLoader) object(name string, root *yaml.Node, lines []string) error {
	if lookup(root, []string{"kind"}).Value == "List" {
		if items := lookup(root, []string{"items"}); items != nil {
			for _, item := range items.Content {
				if item = resolve(item); IsMap(item) && lookup(item, []string{"kind"}) != nil {
					if err := l.object(name, item, lines); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	gv, err := schema.ParseGroupVersion(lookup(root, []string{"apiVersion"}).Value)
	if err != nil {
		return &FileError{fmt.Sprintf("%s:%d", name, root.Line), err}
	}
	k, ok := kindFor(gv.Group, lookup(root, []string{"kind"}).Value)
	if !ok {
		return nil // other kinds say nothing about logs
	}
	o := k.new()
	if err := decodeInto(root, o); err != nil {
		return &FileError{fmt.Sprintf("%s:%d", name, root.Line), misfit(k.name, root, lines, err)}
	}
	if k.namespaced && o.GetNamespace() == "" {
		o.SetNamespace(l.namespace())
	}
	if !k.namespaced {
		o.SetNamespace("")
	}
	l.s.d.sources[o] = &source{kind: k.name, file: name, node: root, lines: lines}
	l.s.put(k.in, o)
	return nil
}

// misfit says without Go's types why a manifest is not of its kind.
func misfit(kind string, root *yaml.Node, lines []string, err error) error {
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ):
		return fmt.Errorf("%s: %s cannot be a %s", kind, typ.Field, typ.Value)
	case strings.Contains(strings.Join(lines[root.Line-1:], "\n"), "{{"):
		return fmt.Errorf("%s: it looks like a template of a chart: examine what helm template prints", kind)
	}
	return fmt.Errorf("%s: %w", kind, err)
}

func (l *fileLoader) namespace() string {
	if l.opts.Namespace != "" {
		return l.opts.Namespace
	}
	return metav1.NamespaceDefault
}

// put adds an object; it replaces one of the same name.
func (s *Snapshot) put(in Input, o metav1.Object) {
	s.d.files[in]++
	for i, have := range s.d.objects[in] {
		if have.GetNamespace() == o.GetNamespace() && have.GetName() == o.GetName() {
			delete(s.d.sources, have)
			s.d.objects[in][i] = o
			return
		}
	}
	s.d.objects[in] = append(s.d.objects[in], o)
}

// decodeInto goes through JSON, as Kubernetes reads manifests.
func decodeInto(root *yaml.Node, o metav1.Object) error {
	text, err := yaml.Marshal(root)
	if err != nil {
		return err
	}
	js, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		return err
	}
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.UnmarshalJSON(js)
	}
	if err := json.Unmarshal(js, o); err != nil {
		return err
	}
	if sec, ok := o.(*corev1.Secret); ok && sec.Namespace == "" && sec.Name == "" {
		return errors.New("it has no name")
	}
	return nil
}

// values takes a mapping as the values of a chart.
func (l *fileLoader) values(name string, root *yaml.Node, lines []string, named bool) error {
	var keys []string
	Entries(root, func(k string, _, _ *yaml.Node) { keys = append(keys, k) })
	chart := l.opts.Chart
	if chart == "" && l.opts.GuessChart != nil {
		chart = l.opts.GuessChart(keys)
	}
	if chart == "" {
		return l.unknown(name, named, "neither a manifest nor a collector's configuration; for chart values name the chart: --chart loki@6.55.0")
	}
	if !named && !strings.Contains(filepath.Base(name), "values") && l.opts.Chart == "" {
		return l.unknown(name, named, "perhaps values of chart "+chart+"; name the file to have it examined")
	}
	r := &Release{
		Origin: FromValues, Name: l.opts.Release, Namespace: l.opts.Namespace, Chart: chart, Repo: l.opts.Repo, Values: root,
		ref: Ref{File: name, Line: root.Line, Column: root.Column}, src: &source{kind: "values", file: name, node: root, lines: lines},
	}
	if r.Name == "" {
		r.Name = chart
	}
	if r.Namespace == "" {
		r.Namespace = metav1.NamespaceDefault
	}
	r.setVersion(l.opts.Version)
	l.s.d.releases = append(l.s.d.releases, r)
	return nil
}

// unmarshalJSON reads YAML into types that have JSON tags only.
func unmarshalJSON(text []byte, into any) error { return sigsyaml.Unmarshal(text, into) }
