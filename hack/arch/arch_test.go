package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/logstack-dev/kubectl-logstack"

var update = flag.Bool("update", false, "rewrite cmd/*/modules.txt")

// floors lists the packages from the ground up. A package may import ours only
// from lower floors; packages of one floor do not see each other, except where
// exceptions says so.
var floors = [][]string{
	{"pkg/model", "pkg/vfs", "pkg/version", "pkg/patterns", "pkg/reach", "manifests"},
	{"pkg/store/wal", "pkg/store/chunk", "pkg/store/index", "pkg/logql", "pkg/lokiapi", "pkg/kube", "pkg/podlogs/nodefiles"},
	{"pkg/store/head", "pkg/store/block", "pkg/logql/stage", "pkg/podlogs", "pkg/kubevents", "pkg/doctor/snapshot", "pkg/doctor/data", "pkg/doctor/conf"},
	{"pkg/store", "pkg/sharing", "pkg/logql/engine"},
	{"pkg/output", "pkg/server", "pkg/peers", "pkg/install", "pkg/doctor", "pkg/doctor/report"},
	{"cmd/collector", "cmd/kubectl-logstack"},
}

// exceptions are the edges that the floors alone would forbid or allow
// wrongly, each with its reason.
var (
	allowed = map[string]string{
		"pkg/doctor -> pkg/install":              "doctor judges what install renders",
		"pkg/doctor/report -> pkg/doctor":        "the report is printed where it is judged",
		"pkg/doctor/snapshot -> pkg/doctor/conf": "the loader knows Vector's TOML by its tables",
	}
	forbidden = map[string]string{
		"pkg/store -> pkg/logql":        "the store knows no LogQL",
		"pkg/store -> pkg/lokiapi":      "the store knows no wire format",
		"pkg/store -> pkg/kube":         "the store knows no Kubernetes",
		"pkg/server -> pkg/store":       "the server sees an interface",
		"pkg/peers -> pkg/store":        "whoever merges replicas sees an interface",
		"pkg/install -> pkg/store":      "install sees no data",
		"pkg/doctor -> pkg/store":       "doctor sees no data",
		"pkg/output -> pkg/store":       "printers see no data",
		"pkg/logql/engine -> pkg/store": "LogQL knows no files",
	}
	// notLinked are whole packages that a binary never contains.
	notLinked = map[string][]string{
		"cmd/kubectl-logstack": {"pkg/store", "pkg/server", "pkg/podlogs", "pkg/kubevents", "pkg/logql/engine"},
		"cmd/collector":        {"pkg/install", "pkg/doctor", "manifests"},
	}
)

// anyone may be imported from tests and tools, and are on no floor.
var unfloored = []string{"pkg/testutil", "hack/"}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	GoFiles    []string
	Dir        string
	Module     *struct{ Path string }
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,GoFiles,Dir,Module"}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func ours(path string) (string, bool) {
	p, ok := strings.CutPrefix(path, module+"/")
	return p, ok
}

func isUnfloored(p string) bool {
	return slices.ContainsFunc(unfloored, func(u string) bool { return p == strings.TrimSuffix(u, "/") || strings.HasPrefix(p, u) })
}

func TestImportFloors(t *testing.T) {
	floorOf := map[string]int{}
	for i, f := range floors {
		for _, p := range f {
			floorOf[p] = i
		}
	}
	for _, p := range goList(t, "./...") {
		from, _ := ours(p.ImportPath)
		if isUnfloored(from) {
			continue
		}
		ff, ok := floorOf[from]
		if !ok {
			t.Errorf("%s is on no floor: give it one in hack/arch and in design's table", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ok := ours(imp)
			if !ok {
				continue
			}
			edge := from + " -> " + to
			if isUnfloored(to) {
				t.Errorf("%s: test helpers and tools are not for product code", edge)
			} else if why := forbidEdge(from, to); why != "" {
				t.Errorf("%s: %s", edge, why)
			} else if _, ok := allowed[edge]; !ok && floorOf[to] >= ff {
				t.Errorf("%s: floor %d may not import floor %d", edge, ff, floorOf[to])
			}
			if strings.HasPrefix(to, "pkg/store/") && from != "pkg/store" && !strings.HasPrefix(from, "pkg/store/") {
				t.Errorf("%s: only the store opens the doors of store/*", edge)
			}
		}
	}
}

func forbidEdge(from, to string) string {
	for edge, why := range forbidden {
		f, g, _ := strings.Cut(edge, " -> ")
		if (from == f || strings.HasPrefix(from, f+"/")) && (to == g || strings.HasPrefix(to, g+"/")) {
			return why
		}
	}
	return ""
}

func TestBinaries(t *testing.T) {
	for cmd, banned := range notLinked {
		p := goList(t, "./"+cmd)[0]
		for _, d := range p.Deps {
			if dep, ok := ours(d); ok {
				for _, b := range banned {
					if dep == b || strings.HasPrefix(dep, b+"/") {
						t.Errorf("%s links %s", cmd, dep)
					}
				}
			}
		}
		mods := map[string]bool{}
		for _, d := range goList(t, append([]string{"-deps"}, "./"+cmd)...) {
			if d.Module != nil && d.Module.Path != module {
				mods[d.Module.Path] = true
			}
		}
		var lines []string
		for m := range mods {
			lines = append(lines, m)
		}
		sort.Strings(lines)
		got := strings.Join(lines, "\n") + "\n"
		file := filepath.Join(root(t), cmd, "modules.txt")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s links other modules than modules.txt says (is each new one worth it? then: go test ./hack/arch -update)\n%s", cmd, d)
		}
	}
}

func TestPackagesIntroduceThemselves(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if len(p.GoFiles) == 0 {
			continue
		}
		doc := ""
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			doc += file.Doc.Text()
		}
		if len(strings.Fields(doc)) < 15 {
			t.Errorf("%s: the package comment is missing or says nothing (it has to touch the package line)", p.ImportPath)
		}
	}
}

// patterns are things that look harmless and have a better form here.
var patterns = []struct {
	re          *regexp.Regexp
	not         string // path substring that is exempt
	fakeClockOK bool   // fine in tests that run in a testing/synctest bubble
	want        string
}{
	{regexp.MustCompile(`\bos\.IsNotExist\(`), "", false, "errors.Is(err, fs.ErrNotExist): it sees through wrapping"},
	{regexp.MustCompile(`\bcontext\.TODO\(\)`), "", false, "a context of the caller"},
	{regexp.MustCompile(`\btime\.Sleep\(`), "hack/", true, "a channel, a ticker with a context, or testing/synctest"},
	{regexp.MustCompile(`"github\.com/pkg/errors"`), "", false, "std errors and %w"},
	{regexp.MustCompile(`(?i)\bTODO\b|\bFIXME\b`), "", false, "finish it, or name it under Limits in the README"},
}

// usesSynctest says whether a package's tests run under a fake clock: sleeping
// there takes no time and waits for nothing by chance.
func usesSynctest(dir string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	return slices.ContainsFunc(files, func(f string) bool {
		src, err := os.ReadFile(f)
		return err == nil && bytes.Contains(src, []byte(`"testing/synctest"`))
	})
}

func TestPatterns(t *testing.T) {
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "arch" || d.Name() == "dist") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root(t), path)
		fakeClock := strings.HasSuffix(path, "_test.go") && usesSynctest(filepath.Dir(path))
		for _, p := range patterns {
			if p.not != "" && strings.Contains(rel, p.not) || fakeClock && p.fakeClockOK {
				continue
			}
			for _, m := range p.re.FindAllIndex(src, -1) {
				line := 1 + bytes.Count(src[:m[0]], []byte("\n"))
				t.Errorf("%s:%d: %s: use %s", rel, line, src[m[0]:m[1]], p.want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
