package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

const goodToken = "0123456789abcdef0123456789abcdef"

// credentialsDir is a mounted Secret with these keys.
func credentialsDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// TestCredentials asks every kind of route with every kind of credential.
func TestCredentials(t *testing.T) {
	dir := credentialsDir(t, map[string]string{
		"token":    "# of Grafana\n" + goodToken + "\n\nanother-token-that-is-long\n",
		"htpasswd": "ann:" + hashOf(t, "correct") + "\n# left\nbob:" + hashOf(t, "horse") + "\n",
		"username": "admin", "password": "staple\n",
	})
	c, err := OpenCredentials(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newTestServer(func(o *Options) { o.Credentials, o.CredentialsSecret = c, "logstack-auth" })
	ask := func(method, path string, header func(http.Header)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		header(r.Header)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	set := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	user := func(name, password string) func(http.Header) {
		return func(h http.Header) {
			r := &http.Request{Header: h}
			r.SetBasicAuth(name, password)
		}
	}
	for name, tt := range map[string]struct {
		header func(http.Header)
		good   bool
	}{
		"nothing":                 {func(http.Header) {}, false},
		"a token":                 {set("Authorization", "Bearer "+goodToken), true},
		"the scheme in lower":     {set("Authorization", "bearer "+goodToken), true},
		"the second token":        {set("Authorization", "Bearer another-token-that-is-long"), true},
		"our header":              {set(lokiapi.TokenHeader, goodToken), true},
		"our header with scheme":  {set(lokiapi.TokenHeader, "Bearer "+goodToken), true},
		"a wrong token":           {set("Authorization", "Bearer "+goodToken+"x"), false},
		"a comment":               {set("Authorization", "Bearer # of Grafana"), false},
		"an empty token":          {set("Authorization", "Bearer "), false},
		"a user":                  {user("ann", "correct"), true},
		"a user again":            {user("ann", "correct"), true}, // from memory
		"a wrong password":        {user("ann", "horse"), false},
		"an unknown user":         {user("eve", "correct"), false},
		"the hash as password":    {user("eve", ""), false},
		"the plain pair":          {user("admin", "staple"), true},
		"the plain pair, wrong":   {user("admin", "correct"), false},
		"a token as password":     {user("any", goodToken), true},
		"not base64":              {set("Authorization", "Basic %%%"), false},
		"another kind":            {set("Authorization", "Digest x"), false},
		"the token of a replica":  {set("Authorization", "Bearer "+c.PeerToken()), true},
		"a user through a header": {set(lokiapi.TokenHeader, "Basic YW5uOmNvcnJlY3Q="), true},
	} {
		for _, route := range []string{"GET /loki/api/v1/labels", "POST /loki/api/v1/push", "GET /logstack/v1/status", "GET /config", "POST /log_level", "GET /nowhere", "POST /ready"} {
			method, path, _ := strings.Cut(route, " ")
			w := ask(method, path, tt.header)
			if refused := w.Code == http.StatusUnauthorized; refused == tt.good {
				t.Errorf("%s: %s: %d %s", name, route, w.Code, w.Body)
			}
			if w.Code == http.StatusUnauthorized && (w.Header().Get(lokiapi.SecretHeader) != "logstack-auth" || len(w.Header().Values("WWW-Authenticate")) != 2) {
				t.Errorf("%s: %s: headers %v", name, route, w.Header())
			}
		}
	}
	for _, open := range []string{"/ready", "/metrics"} {
		if w := ask("GET", open, func(http.Header) {}); w.Code == http.StatusUnauthorized {
			t.Errorf("%s asks for credentials", open)
		}
	}
}

// TestBadCredentials: what cannot protect is refused at the start.
func TestBadCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":      {nil, "has no credentials: it needs token, htpasswd, or username and password"},
		"only spaces":  {map[string]string{"token": "\n \n"}, "has no credentials"},
		"short":        {map[string]string{"token": "secret"}, "a token of 6 characters: it can be guessed"},
		"not bcrypt":   {map[string]string{"htpasswd": "ann:{SHA}x\n"}, "htpasswd:1 is not NAME:HASH with a bcrypt hash"},
		"no name":      {map[string]string{"htpasswd": ":" + hashOf(t, "x")}, "htpasswd:1"},
		"no password":  {map[string]string{"username": "admin"}, "username and password go together"},
		"one bad line": {map[string]string{"token": goodToken, "htpasswd": "\n\nann"}, "htpasswd:3"},
	} {
		if _, err := OpenCredentials(credentialsDir(t, tt.files), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenCredentials(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory that is not there")
	}
}

// TestCredentialsChange: a rotated Secret counts without a restart, one that
// cannot be used does not lock everybody out, and replicas that see the change at
// different times still know each other.
func TestCredentialsChange(t *testing.T) {
	dir := credentialsDir(t, map[string]string{"token": goodToken})
	var log bytes.Buffer
	c, err := OpenCredentials(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.now = func() time.Time { return now }
	may := func(token string) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return c.allowed(r)
	}
	oldPeer := c.PeerToken()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(credentialsAge)
	}
	const next = "another-token-that-is-long"
	if write(next); may(goodToken) || !may(next) {
		t.Error("the change does not count")
	}
	if c.PeerToken() == oldPeer || !may(oldPeer) || !may(c.PeerToken()) {
		t.Error("replicas do not know each other after a change")
	}
	if write("short"); !may(next) || !strings.Contains(log.String(), "the former ones stay valid") {
		t.Errorf("a bad change counts: %s", &log)
	}
	if now = now.Add(peerGrace); may(oldPeer) {
		t.Error("the former token of replicas never ends")
	}
}
