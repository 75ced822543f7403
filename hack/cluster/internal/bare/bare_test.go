package bare

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain allows one kind of goroutine to stay: those that wait for the daemons
// that TestCluster leaves running.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"))
}

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs from what is rendered; look, then run with -update:\n%s", path, got)
	}
}

func TestRender(t *testing.T) {
	p := paths{"/var/lib/logstack-cluster"}
	facts := hostFacts{CNIBinDir: "/usr/lib/cni", Snapshotter: "overlayfs", MTU: 1400, ResolvConf: "/etc/resolv.conf"}
	names := []string{"addons.yaml"}
	for _, f := range configFiles {
		names = append(names, f.template)
	}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(names) {
		t.Errorf("%d templates, %d are used", len(entries), len(names))
	}
	for _, name := range names {
		got, err := render(name, newValues(p, facts))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, got)
		switch filepath.Ext(name) {
		case ".conflist":
			if !json.Valid(got) {
				t.Errorf("%s is not JSON", name)
			}
		case ".yaml":
			for _, doc := range strings.Split(string(got), "\n---\n") {
				if err := yaml.UnmarshalStrict([]byte(doc), &map[string]any{}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// A machine without a DNS server that pods can reach has CoreDNS answer for the
// cluster alone.
func TestRenderWithoutUpstreamDNS(t *testing.T) {
	p := paths{"/s"}
	v := newValues(p, hostFacts{})
	addons, err := render("addons.yaml", v)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(addons), "forward") {
		t.Error("CoreDNS forwards to nowhere")
	}
	if v.ResolvConf != "/s/config/resolv.conf" {
		t.Errorf("resolv.conf is %s", v.ResolvConf)
	}
}

func TestStateDir(t *testing.T) {
	for _, tc := range []struct{ arg, env, want, err string }{
		{"", "", DefaultDir, ""},
		{"", "/x/y", "/x/y", ""},
		{"/a/b/", "/x/y", "/a/b", ""},
		{"/", "", "", "`down` deletes it"},
		{"/" + strings.Repeat("long/", 20), "", "", "too long"},
	} {
		t.Setenv("LOGSTACK_CLUSTER_DIR", tc.env)
		got, err := stateDir(tc.arg)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q %q: %v, want %q", tc.arg, tc.env, err, tc.err)
			}
		} else if got != tc.want || err != nil {
			t.Errorf("%q %q: %q, %v", tc.arg, tc.env, got, err)
		}
	}
}

func TestRemovalScript(t *testing.T) {
	for _, file := range []string{"iptables-docker-and-cluster", "iptables-docker"} {
		saved, err := os.ReadFile(filepath.Join("testdata", file+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, file+"-removal.txt", []byte(removalScript(string(saved))))
	}
}

func TestMountPoint(t *testing.T) {
	for line, want := range map[string]string{
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": "/mnt2",
		`41 29 0:5 / /a\040b\134c rw - tmpfs tmpfs rw`:                   `/a b\c`,
		`41 29 0:5 / /odd\9 rw - tmpfs tmpfs rw`:                         `/odd\9`,
		"short":                                                          "",
	} {
		if got := mountPoint(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestNoMountsUnderNewDirectory(t *testing.T) {
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Skip("no /proc here")
	}
	dir := t.TempDir()
	if points, err := mountsUnder(dir); err != nil || len(points) != 0 {
		t.Errorf("%v, %v", points, err)
	}
	if points, err := mountsUnder("/"); err != nil || len(points) == 0 {
		t.Errorf("/ itself is not among %v, %v", points, err)
	}
}

// What up found is written once, so that a second start does not take the
// changes of the first for the original.
func TestRememberOnce(t *testing.T) {
	c := &Cluster{p: paths{t.TempDir()}, log: os.Stderr}
	if b, err := c.recall(); err != nil || len(b.Sysctls) != 0 {
		t.Fatalf("recall without a file: %+v, %v", b, err)
	}
	if err := os.WriteFile(c.p.hostFile(), []byte(`{"sysctls":{"vm/overcommit_memory":"0"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.remember(); err != nil {
		t.Fatal(err)
	}
	b, err := c.recall()
	if err != nil || len(b.Sysctls) != 1 || b.Sysctls["vm/overcommit_memory"] != "0" {
		t.Errorf("got %+v, %v", b, err)
	}
	if err := os.WriteFile(c.p.hostFile(), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.recall(); err == nil {
		t.Error("a damaged file was accepted")
	}
}

func TestRestoreRemovesOnlyWhatIsOurs(t *testing.T) {
	root := t.TempDir()
	empty, used := filepath.Join(root, "empty"), filepath.Join(root, "used")
	for _, dir := range []string{empty, used} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(used, "theirs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := restore(before{Absent: []string{empty, used, filepath.Join(root, "never-made")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the empty directory is still there")
	}
	if _, err := os.Stat(filepath.Join(used, "theirs")); err != nil {
		t.Error(err)
	}
}

// A wrong LOGSTACK_CLUSTER_DIR must cost nobody a file.
func TestForeignDirectoryIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	c, err := New(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ownEntries {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.checkOurs(); err != nil {
		t.Errorf("what a refused up leaves: %v", err)
	}
	theirs := filepath.Join(dir, "theirs")
	if err := os.WriteFile(theirs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.checkOurs(); err == nil || !strings.Contains(err.Error(), "theirs") {
		t.Errorf("got %v", err)
	}
	if err := c.removeEmpty(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
	if err := os.Remove(theirs); err != nil {
		t.Fatal(err)
	}
	if err := c.removeEmpty(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory is still there: %v", err)
	}
}

func TestDownWithoutClusterIsNothing(t *testing.T) {
	if Preflight() != nil {
		t.Skip("needs root on Linux")
	}
	c, err := New(filepath.Join(t.TempDir(), "none"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Down(context.Background()); err != nil {
		t.Error(err)
	}
	if err := c.Healthy(t.Context()); err == nil || !strings.Contains(err.Error(), "down") {
		t.Errorf("got %v", err)
	}
	if err := c.Load(t.Context(), "x.tar"); err == nil || !strings.Contains(err.Error(), "`up` first") {
		t.Errorf("got %v", err)
	}
}
