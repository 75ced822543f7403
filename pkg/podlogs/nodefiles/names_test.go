package nodefiles

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirPath(t *testing.T) {
	good := Dir{Namespace: "shop", Pod: "web-0.a", UID: "4f0c6e1e-0000-4b5c-9f3e-123456789abc", Container: "app"}
	if p, err := good.path(); err != nil || p != "pods/shop_web-0.a_4f0c6e1e-0000-4b5c-9f3e-123456789abc/app/" {
		t.Errorf("%q, %v", p, err)
	}
	static := good
	static.UID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
	if _, err := static.path(); err != nil {
		t.Error(err)
	}
	for _, bad := range []func(*Dir){
		func(d *Dir) { d.Namespace = "" },
		func(d *Dir) { d.Namespace = "a/b" },
		func(d *Dir) { d.Namespace = "a_b" },
		func(d *Dir) { d.Pod = ".." },
		func(d *Dir) { d.Pod = "a/../../b" },
		func(d *Dir) { d.Pod = strings.Repeat("a", 254) },
		func(d *Dir) { d.UID = "../../../etc" },
		func(d *Dir) { d.UID = "a%2f" },
		func(d *Dir) { d.UID = "" },
		func(d *Dir) { d.Container = "app?query=x" },
		func(d *Dir) { d.Container = "App" },
		func(d *Dir) { d.Container = "app/.." },
	} {
		d := good
		bad(&d)
		if p, err := d.path(); err == nil {
			t.Errorf("%+v: %q", d, p)
		}
	}
}

func TestParseListing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"0.log", "0.log.20260101-000000.gz", "0.log.20260101-000010.gz", "0.log.20260101-000010", "0.log.20260101-000020",
		"1.log", "10.log", "2.log.20260101-000000.gz.tmp", "2.log.tmp", "a&b.log", "x\"y.log", "007.log", "-1.log", "3.log.gz", "a:b.log",
		"99999999999.log", "4.log/",
	} {
		if dirname, ok := strings.CutSuffix(name, "/"); ok {
			if err := os.Mkdir(filepath.Join(dir, dirname), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	http.FileServer(http.Dir(dir)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	got, err := ParseListing(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{0, "20260101-000000", true}, {0, "20260101-000010", false}, {0, "20260101-000020", false}, {0, "", false},
		{1, "", false}, {10, "", false},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, f := range got {
		if again, ok := ParseName(f.Name()); !ok || again != f {
			t.Errorf("%q is read as %+v", f.Name(), again)
		}
	}
	if d := cmp.Diff(want[:4], OfRun(got, 0)); d != "" {
		t.Error(d)
	}
	if n := len(OfRun(got, 1)) + len(OfRun(got, 10)); n != 2 {
		t.Errorf("%d files of runs 1 and 10", n)
	}
	if n := len(OfRun(got, 2)) + len(OfRun(got, 11)); n != 0 {
		t.Errorf("%d files of runs that do not exist", n)
	}
}

func TestParseListingIsBounded(t *testing.T) {
	link := `<a href="0.log">0.log</a>` + "\n"
	if _, err := ParseListing(strings.NewReader(strings.Repeat(link, maxFiles+1))); err == nil {
		t.Error("too many files pass")
	}
	if _, err := ParseListing(strings.NewReader(strings.Repeat("<!-- -->\n", maxListing))); err == nil {
		t.Error("a listing without end passes")
	}
	if _, err := ParseListing(strings.NewReader(strings.Repeat("x", maxListing))); err == nil {
		t.Error("a line without end passes")
	}
}

func FuzzParseListing(f *testing.F) {
	f.Add("<pre>\n<a href=\"0.log\">0.log</a>\n<a href=\"0.log.20260101-000000.gz\">x</a>\n</pre>\n")
	f.Add(`<a href="../../etc/passwd">`)
	f.Add("<a href=\"%30.log\">\n<a href=\"./0.log\">\n<a href=\"")
	f.Fuzz(func(t *testing.T, text string) {
		files, err := ParseListing(strings.NewReader(text))
		if err != nil {
			return
		}
		for i, file := range files {
			again, ok := ParseName(file.Name())
			if !ok || again != file || strings.ContainsAny(file.Name(), "/%?#") {
				t.Fatalf("name %q", file.Name())
			}
			if i > 0 && files[i-1].compare(file) >= 0 {
				t.Fatalf("%q is not behind %q", file.Name(), files[i-1].Name())
			}
		}
	})
}
