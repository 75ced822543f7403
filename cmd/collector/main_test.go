package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/emulate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"collector": main})
}

// TestScripts runs the binary as a user would, see testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			for _, v := range []string{"KUBERNETES_SERVICE_HOST", "KUBECONFIG"} {
				env.Setenv(v, "")
			}
			env.Setenv("PATH", emulate.Path(t, "collector", env.Getenv("PATH")))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"started": started,
			"http":    httpCommand,
			"exits":   exits,
		},
	})
}

// started waits until the collector that runs in the background has written
// its address into a file: it is ready then.
func started(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: started file")
	}
	for range 3000 {
		if address, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			ts.Setenv("ADDRESS", strings.TrimSpace(string(address)))
			return
		}
		<-time.After(10 * time.Millisecond) // another process: nothing to wait on
	}
	ts.Fatalf("the collector did not start")
}

// exits runs a command and checks its exit code: exits CODE command args.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d (%v), want %s", code, err, args[0])
	}
}

// httpCommand sends a request to the collector and prints status and body:
// http METHOD PATH [content-type body].
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && len(args) != 4 {
		ts.Fatalf("usage: http method path [content-type body]")
	}
	var body io.Reader
	if len(args) == 4 {
		body = strings.NewReader(args[3])
	}
	req, err := http.NewRequest(args[0], "http://"+ts.Getenv("ADDRESS")+args[1], body)
	ts.Check(err)
	if len(args) == 4 {
		req.Header.Set("Content-Type", args[2])
	}
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close() //nolint:errcheck // a test
	text, err := io.ReadAll(res.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(append([]byte(res.Status+"\n"), text...))
	ts.Check(err)
	if neg == (res.StatusCode/100 == 2) {
		ts.Fatalf("answered %s: %s", res.Status, text)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	_, err := parseConfig([]string{"--help"}, func(string) (string, bool) { return "", false }, &out)
	if err == nil {
		t.Fatal("--help is no error")
	}
	if *update {
		if err := os.WriteFile("testdata/help.txt", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/help.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestEnvironment sets every flag by its variable, and by both.
func TestEnvironment(t *testing.T) {
	env := map[string]string{
		"LOGSTACK_DATA_DIR": "/x", "LOGSTACK_RETENTION": "12h", "LOGSTACK_MAX_DISK": "5MiB",
		"LOGSTACK_NO_KUBERNETES": "true", "LOGSTACK_SYNC_INTERVAL": "200ms", "LOGSTACK_MEMORY_LIMIT": "64MiB",
		"LOGSTACK_VERSION": "true", // says nothing to the collector
	}
	get := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	cfg, err := parseConfig([]string{"--retention", "0"}, get, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.dataDir != "/x" || cfg.retention != 0 || cfg.maxDisk != 5<<20 || !cfg.noKubernetes ||
		cfg.syncInterval != 200*time.Millisecond || cfg.memoryLimit != 64<<20 || cfg.showVersion {
		t.Errorf("%+v", cfg)
	}
	env["LOGSTACK_NO_KUBERNETES"] = "perhaps"
	if _, err := parseConfig(nil, get, io.Discard); err == nil || !strings.Contains(err.Error(), "LOGSTACK_NO_KUBERNETES") {
		t.Errorf("a bad variable: %v", err)
	}
	if !regexp.MustCompile(`(?m)^retention: "0"$`).Match(cfg.effective()) {
		t.Errorf("%s", cfg.effective())
	}
}

// TestPlanMemory checks that the shares leave room, whatever the limit.
func TestPlanMemory(t *testing.T) {
	for _, total := range []int64{minMemory, 64 << 20, 128 << 20, 256 << 20, 1 << 30, 64 << 30} {
		p := planMemory(total, slog.New(slog.DiscardHandler))
		total = min(total, addressable(strconv.IntSize))
		if p.total != total || p.store <= 0 || p.queries < 1 {
			t.Errorf("%d: %+v", total, p)
		}
		if sum := p.store + p.push + 2*p.pushBody + int64(p.queries)*p.query + p.answers + p.cache; sum > total {
			t.Errorf("%d is divided into %d: %+v", total, sum, p)
		}
	}
	if small, large := addressable(32), addressable(64); small > 1<<30 || large < 1<<40 {
		t.Errorf("planned with: %d of 32 bits, %d of 64", small, large)
	}
}
