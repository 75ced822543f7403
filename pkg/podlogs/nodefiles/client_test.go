package nodefiles

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kubelet serves a directory as the real one serves /var/log.
type kubelet struct {
	*httptest.Server
	dir      string // of the container
	log      string // /var/log
	token    atomic.Value
	requests atomic.Int32
	answer   func(w http.ResponseWriter, r *http.Request) bool
}

var container = Dir{Node: "node-1", Namespace: "shop", Pod: "web-0", UID: "uid-1", Container: "app"}

func newKubelet(t *testing.T) *kubelet {
	k := &kubelet{log: t.TempDir()}
	k.token.Store("good")
	k.dir = filepath.Join(k.log, "pods", "shop_web-0_uid-1", "app")
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := http.StripPrefix("/logs/", http.FileServer(http.Dir(k.log)))
	k.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.requests.Add(1)
		switch {
		case r.Header.Get("Authorization") != "Bearer "+k.token.Load().(string):
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		case k.answer != nil && k.answer(w, r):
		default:
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *kubelet) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

type fixedToken string

func (f fixedToken) Token(context.Context) (string, error) { return string(f), nil }
func (fixedToken) Refused(string)                          {}

func (k *kubelet) client(t *testing.T, change func(*Options)) (*Client, Dir) {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(k.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	o := Options{
		Tokens: fixedToken("good"), Port: n,
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate().Raw}),
	}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d := container
	d.Host = host
	return c, d
}

func zipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

func TestOpen(t *testing.T) {
	k := newKubelet(t)
	const text = "0123456789"
	k.write(t, "0.log", []byte(text))
	k.write(t, "1.log", nil)
	k.write(t, "0.log.20260101-000000.gz", zipped(text))
	c, d := k.client(t, nil)
	gz := File{Stamp: "20260101-000000", Gzip: true}
	tests := []struct {
		file   File
		offset int64
		want   string
		size   int64
	}{
		{Live(0), 0, text, 10}, {Live(0), 4, "456789", 10}, {Live(0), 10, "", 10}, {Live(0), 11, "", 10}, {Live(0), 1 << 40, "", 10},
		{Live(1), 0, "", 0}, {Live(1), 5, "", 0},
		{gz, 0, text, -2}, {gz, 4, "456789", -2}, {gz, 10, "", -2}, {gz, 99, "", -2},
	}
	for _, tt := range tests {
		b, err := c.Open(t.Context(), d, tt.file, tt.offset)
		if err != nil {
			t.Errorf("%s from %d: %v", tt.file.Name(), tt.offset, err)
			continue
		}
		got, err := io.ReadAll(b)
		if err != nil || string(got) != tt.want || tt.size >= 0 && b.Size != tt.size {
			t.Errorf("%s from %d: %q, size %d, %v", tt.file.Name(), tt.offset, got, b.Size, err)
		}
		if b.Rested {
			t.Errorf("%s was written just now", tt.file.Name())
		}
		b.Close()
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(filepath.Join(k.dir, "0.log"), old, old); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 5, 10} {
		b, err := c.Open(t.Context(), d, Live(0), offset)
		if err != nil || !b.Rested {
			t.Errorf("not rested: %v", err)
		}
		b.Close()
	}
	if _, err := c.Open(t.Context(), d, Live(7), 0); KindOf(err) != KindNotFound {
		t.Errorf("missing file: %v", err)
	}
	if head, err := c.Head(t.Context(), d, gz); err != nil || string(head) != text {
		t.Errorf("head %q, %v", head, err)
	}
	k.write(t, "0.log", bytes.Repeat([]byte("x"), 1000))
	if head, err := c.Head(t.Context(), d, Live(0)); err != nil || len(head) != HeadBytes {
		t.Errorf("head of %d bytes, %v", len(head), err)
	}
	files, err := c.List(t.Context(), d)
	if err != nil || len(files) != 3 {
		t.Errorf("%v, %v", files, err)
	}
}

// What the kubelet may answer, and what is made of it.
func TestFailures(t *testing.T) {
	k := newKubelet(t)
	k.write(t, "0.log", []byte("x"))
	reply := func(status int, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, text, status)
			return true
		}
	}
	tests := []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		change func(*Options)
		want   Kind
		text   string
	}{
		{"disabled", reply(405, "logs endpoint is disabled."), nil, KindDisabled, "enableSystemLogHandler"},
		{"forbidden", reply(403, "Forbidden"), nil, KindDenied, "nodes/log"},
		{"wrong token", nil, func(o *Options) { o.Tokens = fixedToken("bad") }, KindDenied, "authentication.webhook"},
		{"broken", reply(500, "Internal Error: boom"), nil, KindFailed, "boom"},
		{"busy", reply(429, "later"), nil, KindBusy, "429"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://example.org/", http.StatusFound)
			return true
		}, nil, KindFailed, "302"},
		{"certificate", nil, func(o *Options) { o.CA = otherCA }, KindCertificate, "--node-files-ca-file"},
		{"no token", nil, func(o *Options) { o.Tokens = FileTokens("does-not-exist") }, KindToken, "does-not-exist"},
		{"unreachable", nil, func(o *Options) { o.Port = 1 }, KindUnreachable, "cannot be reached"},
		{"no log directory", reply(404, "404 page not found"), nil, KindFailed, "podLogsDir"},
		{"good", nil, nil, "", ""},
		{"insecure", nil, func(o *Options) { o.CA = otherCA; o.InsecureSkipVerify = true }, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k.answer = tt.answer
			var seen []Kind
			c, d := k.client(t, func(o *Options) {
				o.OnRequest = func(k Kind) { seen = append(seen, k) }
				if tt.change != nil {
					tt.change(o)
				}
			})
			err := c.Probe(t.Context(), d)
			if KindOf(err) != tt.want || (err == nil) != (tt.want == "") {
				t.Fatalf("%q: %v", KindOf(err), err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v does not say %q", err, tt.text)
			}
			if len(seen) != 1 {
				t.Errorf("seen: %q", seen)
			}
		})
	}
	k.answer = nil
	c, d := k.client(t, nil)
	d.Pod = "../x"
	before := k.requests.Load()
	if _, err := c.List(t.Context(), d); KindOf(err) != KindFormat || k.requests.Load() != before {
		t.Errorf("a hostile name was asked for: %v", err)
	}
}

func TestContentRanges(t *testing.T) {
	k := newKubelet(t)
	k.write(t, "0.log", []byte("0123456789"))
	c, d := k.client(t, nil)
	for _, value := range []string{"", "bytes", "bytes 3-9", "bytes x-9/10", "bytes 3-9/x", "bytes 11-12/10", "bytes 5-9/10", "bytes 4-9/10", "bytes -1-9/10"} {
		k.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", value)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte("3456789"))
			return true
		}
		if b, err := c.Open(t.Context(), d, Live(0), 3); err == nil {
			t.Errorf("%q passes", value)
			b.Close()
		}
	}
	// A server without ranges sends all of it.
	k.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("0123456789"))
		return true
	}
	b, err := c.Open(t.Context(), d, Live(0), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); string(got) != "3456789" {
		t.Errorf("%q, %v", got, err)
	}
}

// A compressed file that unpacks to very much ends with an error.
func TestGzipBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks a gigabyte")
	}
	var bomb bytes.Buffer
	w, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	chunk := make([]byte, 1<<20)
	for range 1100 {
		_, _ = w.Write(chunk)
	}
	_ = w.Close()
	k := newKubelet(t)
	k.write(t, "0.log.20260101-000000.gz", bomb.Bytes())
	c, d := k.client(t, nil)
	b, err := c.Open(t.Context(), d, File{Stamp: "20260101-000000", Gzip: true}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n, err := io.Copy(io.Discard, b)
	if !errors.Is(err, errTooLarge) || n != maxInflated {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A refused token is replaced once, at once.
func TestTokenIsRenewed(t *testing.T) {
	k := newKubelet(t)
	file := filepath.Join(t.TempDir(), "token")
	put := func(s string) {
		if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("good")
	c, d := k.client(t, func(o *Options) { o.Tokens = FileTokens(file) })
	if err := c.Probe(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	k.token.Store("new")
	put("new")
	if err := c.Probe(t.Context(), d); err != nil {
		t.Error(err)
	}
	if n := k.requests.Load(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestRequestedTokens(t *testing.T) {
	var got tokenRequest
	requests := 0
	status := http.StatusCreated
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/logstack/serviceaccounts/logstack-node-logs/token" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		if status != http.StatusCreated {
			http.Error(w, "no", status)
			return
		}
		got.Status = &tokenStatus{Token: "t" + strconv.Itoa(requests), ExpirationTimestamp: time.Now().Add(tokenLife)}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(got)
	}))
	t.Cleanup(api.Close)
	core, err := rest.RESTClientFor(&rest.Config{Host: api.URL, APIPath: "/api", ContentConfig: rest.ContentConfig{
		GroupVersion:         &schema.GroupVersion{Version: "v1"},
		NegotiatedSerializer: serializer.NewCodecFactory(runtime.NewScheme()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(core.Client.CloseIdleConnections)
	tokens := RequestedTokens(core, "logstack", "logstack-node-logs")
	for range 3 {
		if s, err := tokens.Token(t.Context()); err != nil || s != "t1" {
			t.Fatalf("%q, %v", s, err)
		}
	}
	if got.Spec.ExpirationSeconds != 600 || requests != 1 {
		t.Errorf("%+v after %d requests", got, requests)
	}
	tokens.Refused("another")
	tokens.Refused("t1")
	status = http.StatusForbidden
	for range 3 {
		if _, err := tokens.Token(t.Context()); KindOf(err) != KindToken || !strings.Contains(err.Error(), "serviceaccounts/token") {
			t.Errorf("%v", err)
		}
	}
	if requests != 2 {
		t.Errorf("%d requests, want 2: a failure is remembered", requests)
	}
}

// At most a few bodies of a node are open, and a closed one makes room. They do
// not stand in the way of looks at the node.
func TestOpenBodiesAreBounded(t *testing.T) {
	k := newKubelet(t)
	k.write(t, "0.log", []byte("0123456789"))
	c, d := k.client(t, nil)
	var open []*Body
	for range nodeBodies {
		b, err := c.Open(t.Context(), d, Live(0), 0)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Open(ctx, d, Live(0), 0)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("one too many: %v", err)
	}
	// Readers look at heads and listings while they hold their bodies.
	if _, err := c.Head(t.Context(), d, Live(0)); err != nil {
		t.Error(err)
	}
	if _, err := c.List(t.Context(), d); err != nil {
		t.Error(err)
	}
	for _, b := range open {
		b.Close()
		b.Close()
	}
	b, err := c.Open(t.Context(), d, Live(0), 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

// otherCA is an authority that signed nothing here (valid to 2126).
var otherCA = []byte(strings.TrimSpace(otherCAText) + "\n")

const otherCAText = `
-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUW3bAyDeL+pphYRSn/VqYj1gXPsgwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRYW5vdGhlciBhdXRob3JpdHkwIBcNMjYxMTIyMTUyNzI0WhgP
MjEyNjEwMjkxNTI3MjRaMBwxGjAYBgNVBAMMEWFub3RoZXIgYXV0aG9yaXR5MFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+WDM5NsaEtES6ftrGJVh1K+18iAJYMgE
u1gxxqxc0btHjs7TbkhaAu0lPf3eUgIqFkm46T11F2z7XnZlmh7CAqNTMFEwHQYD
VR0OBBYEFEAqWS/CrPej057N6xXgtjdjt9uBMB8GA1UdIwQYMBaAFEAqWS/CrPej
057N6xXgtjdjt9uBMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIh
ALT8c1ALhgl5AFTYAlUZNFV9jUOnXyi98ebkk6g79JFeAiBgwLz5WFXujxDZ2VOi
CkBaJneaC9b3aiVNXrcfmMSq+g==
-----END CERTIFICATE-----
`
