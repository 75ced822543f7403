package snapshot

import (
	"context"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Clocks are two looks at the time, at one moment.
type Clocks struct {
	// Server is the API server's, from the Date header: whole seconds.
	Server time.Time
	// Local is that of the machine that runs doctor.
	Local time.Time
}

// clockTimeout bounds the one request.
const clockTimeout = 5 * time.Second

// readClocks asks for the API server's time, which client-go's own calls do not
// hand out. Without it the clocks stay unknown.
func (s *Snapshot) readClocks(ctx context.Context, c *kube.Client) {
	rc, ok := c.Kube.Discovery().RESTClient().(*rest.RESTClient)
	if !ok || rc == nil || rc.Client == nil || s.d.missing[Server] != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rc.Get().AbsPath("/version").URL().String(), nil)
	if err != nil {
		return
	}
	before := time.Now()
	resp, err := rc.Client.Do(req)
	if err != nil {
		return
	}
	took := time.Since(before)
	// The answer is of no interest; reading it keeps the connection.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	resp.Body.Close()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header is cut to the second: half a second later on average.
		s.d.clocks = Clocks{Server: date.Add(500 * time.Millisecond), Local: before.Add(took / 2)}
	}
}

// Clocks are the API server's clock and the local one; zero when unknown.
func (s *Snapshot) Clocks() Clocks {
	s.t.touch(Server)
	return s.d.clocks
}

// SetClocks is for tests.
func (s *Snapshot) SetClocks(c Clocks) { s.d.clocks = c }
