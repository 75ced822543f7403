package reach

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLookAll has one target for each step at which a look can end.
func TestLookAll(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.URL.RawQuery != "" {
			t.Error("credentials or parameters were sent")
		}
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "http://elsewhere.example", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	defer secure.Close()
	// A listener that accepts and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	host := func(s string) string { return s[strings.Index(s, "://")+3:] }
	targets := []struct {
		url    string
		want   Hop
		status int
		words  string
	}{
		{plain.URL + "/ready", "", 401, ""},
		{"http://bob:secret@" + host(plain.URL) + "/ready?x=y#z", "", 401, ""},
		{plain.URL + "/moved", "", 302, ""},
		{"tcp://" + host(plain.URL), "", 0, ""},
		{secure.URL, TLS, 0, "certificate"},
		{"https://" + host(plain.URL), TLS, 0, ""},
		{"http://" + silent.Addr().String(), HTTP, 0, "timeout"},
		{"http://" + closed.Addr().String(), Connect, 0, "connection refused"},
		{"http://does-not-exist.invalid", DNS, 0, ""},
		{"tcp://127.0.0.1", URL, 0, "no port"},
		{"::", URL, 0, "no URL"},
	}
	var urls []string
	for _, tc := range targets {
		urls = append(urls, tc.url)
	}
	answers := LookAll(t.Context(), urls, 2*time.Second)
	report, err := Encode(answers)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(report, len(urls))
	if err != nil {
		t.Fatal(err)
	}
	for i, tc := range targets {
		if a := back[i]; a.Failed != tc.want || a.Status != tc.status || !strings.Contains(a.Error, tc.words) || a != answers[i] {
			t.Errorf("%s: %+v", tc.url, a)
		}
	}
}

// TestReportFits: many long errors are cut until they fit.
func TestReportFits(t *testing.T) {
	many := make([]Answer, 48)
	for i := range many {
		many[i] = failed(Connect, &net.AddrError{Err: strings.Repeat("é", 200)})
		many[i].Millis = 5000
	}
	report, err := Encode(many)
	if err != nil || len(report) > MaxReport {
		t.Fatalf("%d bytes: %v", len(report), err)
	}
	if back, err := Decode(report, 48); err != nil || back[47].Failed != Connect {
		t.Error(err)
	}
	if _, err := Encode(make([]Answer, 5000)); err == nil {
		t.Error("5000 answers fit")
	}
	for _, bad := range []string{"", "{}", "[]", "fork/exec: no such file"} {
		if _, err := Decode([]byte(bad), 1); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
