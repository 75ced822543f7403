package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/tools/txtar"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

var update = flag.Bool("update", false, "rewrite testdata/commands")

// startCollector serves a real store with the sample lines below.
func startCollector(t *testing.T) string {
	t.Helper()
	opts := store.DefaultOptions()
	opts.Retention = 0
	db, err := store.Open(t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Append(context.Background(), sampleLines()); err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{})
	s.SetBackend(db, engine.New(db, engine.Options{}))
	srv := httptest.NewServer(s.HTTPServer().Handler)
	t.Cleanup(srv.Close)
	return srv.URL
}

// sampleLines are ten seconds of two pods, from 2026-03-05 12:00:00 UTC.
func sampleLines() *model.Batch {
	base := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC).UnixNano()
	stream := func(pod, app string) labels.Labels {
		return labels.FromStrings("app", app, "container", "app", "namespace", "shop", "pod", pod)
	}
	web := model.StreamEntries{Labels: stream("web-7d4b9c5f8d-x2x8p", "web")}
	db := model.StreamEntries{Labels: stream("db-0", "db")}
	for i := range 10 {
		ts := base + int64(i)*int64(time.Second)
		status := 200
		if i%4 == 3 {
			status = 503
		}
		web.Entries = append(web.Entries, model.Entry{Timestamp: ts, Line: fmt.Sprintf(`{"status":%d,"path":"/cart/%d"}`, status, i)})
		if i%5 == 0 {
			db.Entries = append(db.Entries, model.Entry{Timestamp: ts + 1, Line: fmt.Sprintf("level=error msg=\"deadlock %d\"", i)})
		}
	}
	db.Entries = append(db.Entries, model.Entry{Timestamp: base + 7e9, Line: "gap: 2s, rotated_away", Metadata: labels.FromStrings(gapLabel, "rotated_away")})
	return &model.Batch{Streams: []model.StreamEntries{web, db}}
}

// TestCommands runs each testdata/commands/*.txt: the section cmd is a command
// line, stdin and env (NAME=VALUE lines) what it finds, stdout, stderr and code
// what has to come out of it. ADDR stands for the collector's address, LOKI for
// that of a Loki that is not ours. -update rewrites what came out.
func TestCommands(t *testing.T) {
	addr, loki := startCollector(t), documentedLoki(t)
	expand := strings.NewReplacer("ADDR", addr, "LOKI", loki)
	home := t.TempDir()
	shorten := strings.NewReplacer(addr, "ADDR", loki, "LOKI", home, "~")
	for _, name := range []string{"LOGSTACK_ADDR", "LOKI_ADDR", "LC_ALL", "LC_CTYPE", "COLUMNS"} {
		t.Setenv(name, "")
	}
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", home)
	files, err := filepath.Glob("testdata/commands/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := &txtar.Archive{Comment: ar.Comment}
			stdin := ""
			for _, f := range ar.Files {
				switch f.Name {
				case "stdin":
					stdin = string(f.Data)
					got.Files = append(got.Files, f)
				case "env":
					for line := range strings.Lines(string(f.Data)) {
						name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
						t.Setenv(name, expand.Replace(value))
					}
					got.Files = append(got.Files, f)
				case "cmd":
					args, err := split(expand.Replace(strings.TrimSpace(string(f.Data))))
					if err != nil {
						t.Fatal(err)
					}
					var out, errOut bytes.Buffer
					code := run(args, genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errOut})
					clean := func(b []byte) []byte { return []byte(shorten.Replace(string(b))) }
					got.Files = append(got.Files, f,
						txtar.File{Name: "stdout", Data: clean(out.Bytes())},
						txtar.File{Name: "stderr", Data: clean(errOut.Bytes())},
						txtar.File{Name: "code", Data: fmt.Appendln(nil, code)})
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(txtar.Format(ar)), string(txtar.Format(got))); d != "" {
				t.Error(d)
			}
		})
	}
}

// split cuts a command line at blanks; single quotes keep what is inside.
func split(s string) ([]string, error) {
	var args []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '\'' {
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("a quote is not closed: %s", s)
			}
			args, s = append(args, s[1:1+end]), s[end+2:]
			continue
		}
		word, rest, _ := strings.Cut(s, " ")
		args, s = append(args, word), rest
	}
	return args, nil
}
