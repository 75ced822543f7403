package binaries

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

func sourceDir(t *testing.T) string {
	t.Helper()
	dir, err := FindModule()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVersionIsThatOfTheModule(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(sourceDir(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	staging := "v0" + strings.TrimPrefix(KubernetesVersion, "v1")
	for _, r := range mod.Require {
		if r.Mod.Path == "k8s.io/kubernetes" && r.Mod.Version != KubernetesVersion {
			t.Errorf("go.mod requires %s, KubernetesVersion is %s", r.Mod, KubernetesVersion)
		}
	}
	for _, r := range mod.Replace {
		if r.New.Version != staging {
			t.Errorf("replace %s => %s, want %s", r.Old.Path, r.New, staging)
		}
	}
}

// The cache key of a program of this module covers the files of its directory
// only: it must not import the rest of the module.
func TestOwnProgramsStandAlone(t *testing.T) {
	for name, p := range Programs() {
		if !strings.HasPrefix(p.Package, "./") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(sourceDir(t), p.Package, "*.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no sources in %s (%v)", name, p.Package, err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				if strings.Contains(imp.Path.Value, ModulePath) {
					t.Errorf("%s imports %s", file, imp.Path.Value)
				}
			}
		}
	}
}

func TestBuildReusesUntilSomethingChanges(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mod := func(dep, more string) {
		write("go.mod", "module example.org/x\n\ngo 1.26\n\nrequire example.org/dep v1.0.0\n\n"+
			"replace example.org/dep => ./"+dep+"\n"+more)
	}
	for _, dep := range []string{"dep1", "dep2", "other"} {
		write(dep+"/go.mod", "module example.org/dep\n\ngo 1.26\n")
		write(dep+"/dep.go", "package dep\n")
	}
	mod("dep1", "")
	source := "package main\n\nimport _ \"example.org/dep\"\n\nfunc main() { println(1) }\n"
	write("cmd/pause/main.go", source)
	var log strings.Builder
	c := &Cache{Dir: t.TempDir(), ModuleDir: dir, Log: &log}
	for _, step := range []struct {
		what   string
		change func()
		built  bool
	}{
		{"first", func() {}, true},
		{"nothing", func() {}, false},
		{"source", func() { write("cmd/pause/main.go", strings.Replace(source, "1", "2", 1)) }, true},
		{"test source", func() { write("cmd/pause/main_test.go", "package main\n") }, false},
		{"unrelated module", func() { mod("dep1", "require example.org/other v1.0.0\nreplace example.org/other => ./other\n") }, false},
		{"module it uses", func() { mod("dep2", "") }, true},
		{"program deleted", func() { os.Remove(c.Path(Pause)) }, true},
		{"program cut", func() { os.Truncate(c.Path(Pause), 100) }, true},
	} {
		log.Reset()
		step.change()
		if _, err := c.Build(t.Context(), Pause); err != nil {
			t.Fatal(err)
		}
		if built := log.Len() > 0; built != step.built {
			t.Errorf("%s: built %v, want %v", step.what, built, step.built)
		}
	}
}

func TestBuildShowsTheCompilersWords(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "cmd/pause"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": "module example.org/x\n\ngo 1.26\n", "cmd/pause/main.go": "package main\n\nfunc main() { oops }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cache{Dir: t.TempDir(), ModuleDir: dir, Log: &strings.Builder{}}
	_, err := c.Build(t.Context(), Pause)
	if err == nil || !strings.Contains(err.Error(), "undefined: oops") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Build(t.Context(), "kubedoom"); err == nil || !strings.Contains(err.Error(), "unknown program") {
		t.Errorf("got %v", err)
	}
}
