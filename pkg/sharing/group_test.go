package sharing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/fakelease"
)

// set is a set of replicas in simulated time.
type set struct {
	*testing.T
	leases *fakelease.Store
	net    map[string]http.Handler // by name
	cut    map[string]bool         // names that cannot be reached
	all    []*one
}

// one is a running replica.
type one struct {
	*Group
	s      *set
	client *fakelease.Client
	stop   context.CancelFunc
	done   chan struct{}
	held   *positions
}

func simulate(t *testing.T, f func(s *set)) {
	synctest.Test(t, func(t *testing.T) {
		s := &set{T: t, leases: fakelease.NewStore(), net: make(map[string]http.Handler), cut: make(map[string]bool)}
		defer func() {
			for _, o := range s.all {
				o.kill()
			}
		}()
		f(s)
	})
}

// RoundTrip implements http.RoundTripper.
func (s *set) RoundTrip(r *http.Request) (*http.Response, error) {
	h := s.net[r.URL.Host]
	if h == nil || s.cut[r.URL.Host] {
		return nil, errors.New("connection refused")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(r.Method, r.URL.Path, bytes.NewReader(body)).WithContext(r.Context()))
	return w.Result(), nil
}

// start runs a replica; id "" is one of its name.
func (s *set) start(name, id string) *one {
	s.Helper()
	o := &one{s: s, client: s.leases.Client(), done: make(chan struct{}), held: &positions{}}
	if id == "" {
		id = "uid-" + name
	}
	var err error
	o.Group, err = New(Options{Set: "logs", Name: name, ID: id, URL: "http://" + name, Leases: o.client, HTTP: &http.Client{Transport: s}})
	if err != nil {
		s.Fatal(err)
	}
	s.net[name] = o.Handler(o.held)
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = cancel
	go func() {
		defer close(o.done)
		o.Run(ctx)
	}()
	s.all = append(s.all, o)
	pass(time.Second)
	return o
}

// kill ends the replica without a word.
func (o *one) kill() {
	o.stop()
	<-o.done
}

// end ends it in good order.
func (o *one) end(forGood bool) {
	o.s.Helper()
	o.kill()
	if err := o.Close(context.Background(), forGood); err != nil {
		o.s.Error(err)
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sees compares the members that a replica knows: name=state.
func (o *one) sees(want ...string) {
	o.s.Helper()
	var got []string
	for _, m := range o.Members() {
		got = append(got, m.Name+"="+string(m.State))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		o.s.Errorf("%s sees other members (-want +got):\n%s", o.Self(), diff)
	}
}

// positions stands for the reader of pod logs.
type positions struct {
	held    []podlogs.Held
	refused []string
	err     error
	kept    []podlogs.Held
	takers  []string
	pending int
}

func (p *positions) Release(_ context.Context, taker string, _ []podlogs.PodRef) ([]podlogs.Held, []string, error) {
	p.takers = append(p.takers, taker)
	return p.held, p.refused, p.err
}

func (p *positions) Keep(_ context.Context, _ string, list []podlogs.Held) error {
	p.kept = append(p.kept, list...)
	return p.err
}

func (p *positions) Pending() int { return p.pending }

func TestMembership(t *testing.T) {
	simulate(t, func(s *set) {
		a := s.start("a", "")
		a.sees("a=ready")
		b, c := s.start("b", ""), s.start("c", "")
		for _, o := range []*one{a, b, c} {
			o.sees("a=ready", "b=ready", "c=ready")
		}
		b.end(false) // is away at once, and stays known
		pass(time.Second)
		a.sees("a=ready", "b=away", "c=ready")
		b = s.start("b", "another uid")
		a.sees("a=ready", "b=ready", "c=ready")
		b.end(true) // is not known any more
		pass(time.Second)
		a.sees("a=ready", "c=ready")
		if err := c.Leave(s.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		a.sees("a=ready", "c=leaving")
		if a.Owner(podlogs.PodRef{UID: "x", Node: "n"}) != "a" || c.Owner(podlogs.PodRef{UID: "x", Node: "n"}) != "a" {
			t.Error("a member that is leaving owns pods")
		}
		c.kill()
		pass(12 * time.Second)
		a.sees("a=ready", "c=leaving")
		pass(9 * time.Second)
		a.sees("a=ready", "c=away")
	})
}

// TestFence cuts a member off: it stops before the others take over.
func TestFence(t *testing.T) {
	simulate(t, func(s *set) {
		a, b := s.start("a", ""), s.start("b", "")
		b.client.Break(true)
		var fenced, taken time.Duration
		for begin := time.Now(); taken == 0; pass(100 * time.Millisecond) {
			if fenced == 0 && b.Fenced() {
				fenced = time.Since(begin)
			}
			if a.Members()[1].State == StateAway {
				taken = time.Since(begin)
			}
		}
		if fenced == 0 || fenced > 11*time.Second || taken < fenced+2*time.Second || taken > 17*time.Second {
			t.Errorf("fenced after %s, taken over after %s", fenced, taken)
		}
		if b.Owns("events") || b.Owner(podlogs.PodRef{UID: "x", Node: "n"}) == "b" {
			t.Error("a fenced member owns something")
		}
		if text := fmt.Sprint(b.Status()["problem"]); !strings.Contains(text, fakelease.ErrBroken.Error()) {
			t.Errorf("the status does not say what is wrong, but %q", text)
		}
		b.client.Break(false)
		pass(5 * time.Second)
		if text := b.Status()["problem"]; text != "" {
			t.Errorf("the status still says %q", text)
		}
		if b.Fenced() {
			t.Error("a member that can renew its Lease is still fenced")
		}
		a.sees("a=ready", "b=ready")
	})
}

// TestHungWatch makes a member's watch silent: nobody is dead because of that.
func TestHungWatch(t *testing.T) {
	simulate(t, func(s *set) {
		a, b := s.start("a", ""), s.start("b", "")
		a.client.Hang(true)
		for range 10 {
			pass(10 * time.Second)
			a.sees("a=ready", "b=ready")
		}
		b.kill()
		pass(40 * time.Second)
		a.sees("a=ready", "b=away")
	})
}

// TestNameTaken starts a second process under the name of a first.
func TestNameTaken(t *testing.T) {
	simulate(t, func(s *set) {
		a := s.start("a", "old")
		second := s.start("a", "new")
		pass(30 * time.Second)
		if a.Fenced() || !second.Fenced() {
			t.Error("the second process took a Lease that is being renewed")
		}
		a.client.Break(true)
		pass(40 * time.Second)
		if !a.Fenced() || second.Fenced() {
			t.Error("the second process does not take the Lease of a dead one")
		}
		a.client.Break(false)
		pass(40 * time.Second)
		if !a.Fenced() || second.Fenced() {
			t.Error("the first process took the Lease back")
		}
	})
}

// TestTakenOver asks whether others took over meanwhile.
func TestTakenOver(t *testing.T) {
	for name, x := range map[string]struct {
		orderly bool
		away    time.Duration
		others  func(b *one)
		want    bool
	}{
		"back at once":              {away: 4 * time.Second},
		"back late":                 {away: time.Minute, want: true},
		"an orderly restart":        {orderly: true, away: 20 * time.Second, want: true},
		"all went at the same time": {away: time.Minute, others: (*one).kill},
		"all stopped":               {orderly: true, away: time.Minute, others: func(b *one) { b.end(false) }},
		"the other came only after": {away: time.Minute, others: func(b *one) {
			b.kill()
			pass(40 * time.Second)
			b.s.start("b", "")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(s *set) {
				a, b := s.start("a", ""), s.start("b", "")
				pass(12 * time.Second)
				if x.orderly {
					a.end(false)
				} else {
					a.kill()
				}
				if x.others != nil {
					x.others(b)
				}
				pass(x.away)
				a = s.start("a", "")
				pass(20 * time.Second)
				if got := a.TakenOver(); got != x.want {
					t.Errorf("taken over: %v, want %v", got, x.want)
				}
			})
		})
	}
}

// TestSingletons wants exactly one owner of each name, and not always the same.
func TestSingletons(t *testing.T) {
	simulate(t, func(s *set) {
		all := []*one{s.start("a", ""), s.start("b", ""), s.start("c", "")}
		of := make(map[string]int)
		for i := range 100 {
			n := 0
			for _, o := range all {
				if o.Owns(fmt.Sprint("name", i)) {
					n++
					of[o.Self()]++
				}
			}
			if n != 1 {
				t.Errorf("name%d has %d owners", i, n)
			}
		}
		if len(of) != 3 {
			t.Errorf("owners are %v", of)
		}
	})
}

func TestSubscribe(t *testing.T) {
	simulate(t, func(s *set) {
		a := s.start("a", "")
		changed, cancel := a.Subscribe()
		defer cancel()
		told := func() bool {
			select {
			case <-changed:
				return true
			default:
				return false
			}
		}
		pass(time.Minute)
		if told() || !a.Settled() {
			t.Error("a change was told although nothing changed")
		}
		b := s.start("b", "")
		if !told() || a.Settled() {
			t.Error("a new member was not told")
		}
		b.end(false)
		pass(time.Second)
		if !told() {
			t.Error("the end of a member was not told")
		}
	})
}

var somePods = []podlogs.PodRef{{UID: "1", Node: "n"}, {UID: "2", Node: "n"}}

func TestClaim(t *testing.T) {
	simulate(t, func(s *set) {
		a, b, c := s.start("a", ""), s.start("b", ""), s.start("c", "")
		b.held.held = []podlogs.Held{{UID: "1", Container: "x", Own: true}}
		c.held.refused = []string{"2"}
		got := a.Claim(s.Context(), somePods)
		want := podlogs.Claim{Held: b.held.held, Later: []string{"2"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("claim (-want +got):\n%s", diff)
		}
		if !slices.Equal(b.held.takers, []string{"a"}) {
			t.Errorf("the taker is %v", b.held.takers)
		}
		// One that cannot be reached is waited for.
		s.cut["c"] = true
		for range 20 {
			if got := a.Claim(s.Context(), somePods); len(got.Later) != 2 {
				t.Fatalf("c was not waited for: %+v", got)
			}
			pass(time.Second)
		}
		pass(11 * time.Second)
		if got := a.Claim(s.Context(), somePods); len(got.Later) != 0 || !got.Missing || len(got.Held) != 1 {
			t.Errorf("c is waited for for ever: %+v", got)
		}
		// One that is away is not asked.
		s.cut["c"] = false
		c.kill()
		pass(20 * time.Second)
		if got := a.Claim(s.Context(), somePods); len(got.Later) != 0 || !got.Missing || time.Since(got.MissingSince) < 15*time.Second {
			t.Errorf("one that is away: %+v", got)
		}
	})
}

func TestReplicate(t *testing.T) {
	simulate(t, func(s *set) {
		all := map[string]*one{"a": s.start("a", ""), "b": s.start("b", ""), "c": s.start("c", "")}
		a := all["a"]
		var list []podlogs.Held
		for i := range 3000 {
			list = append(list, podlogs.Held{UID: fmt.Sprint(i), Node: "n", Container: "x", Position: []byte{1}})
		}
		if failed := a.Replicate(s.Context(), list); len(failed) > 0 {
			t.Fatalf("%d did not arrive", len(failed))
		}
		for name, o := range all {
			for _, h := range o.held.kept {
				first, second := a.rank(podlogs.PodRef{UID: h.UID, Node: h.Node})
				if first == "a" && second != name || first != "a" && first != name {
					t.Errorf("the copy of %s is at %s; owner %s, then %s", h.UID, name, first, second)
				}
			}
		}
		if n := len(all["b"].held.kept) + len(all["c"].held.kept); n != 3000 {
			t.Errorf("%d copies were made", n)
		}
		s.cut["b"] = true
		failed := a.Replicate(s.Context(), list)
		if len(failed) != len(all["b"].held.kept) {
			t.Errorf("%d failed, b has %d", len(failed), len(all["b"].held.kept))
		}
	})
}

func TestPending(t *testing.T) {
	simulate(t, func(s *set) {
		a, b := s.start("a", ""), s.start("b", "")
		b.held.pending = 7
		if n, err := a.Pending(s.Context()); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		s.cut["b"] = true
		if _, err := a.Pending(s.Context()); err == nil {
			t.Error("no error of a member that cannot be asked")
		}
	})
}

func TestHandlerRefuses(t *testing.T) {
	g, err := New(Options{Set: "logs", Name: "a", ID: "1", URL: "http://a", Leases: fakelease.NewStore().Client(), HTTP: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	p := &positions{err: errors.New("still starting")}
	for name, x := range map[string]struct {
		path, body string
		want       int
	}{
		"no JSON":        {claimPath, "x", http.StatusBadRequest},
		"another set":    {claimPath, `{"set":"y","from":"b","to":"a"}`, http.StatusMisdirectedRequest},
		"another name":   {keepPath, `{"set":"logs","from":"b","to":"c"}`, http.StatusMisdirectedRequest},
		"nobody":         {keepPath, `{"set":"logs","to":"a"}`, http.StatusMisdirectedRequest},
		"too early":      {claimPath, `{"set":"logs","from":"b","to":"a"}`, http.StatusServiceUnavailable},
		"keep too early": {keepPath, `{"set":"logs","from":"b","to":"a"}`, http.StatusServiceUnavailable},
		"too large":      {keepPath, `{"set":"` + strings.Repeat("x", maxBody), http.StatusBadRequest},
		"fine":           {pendingPath, `{"set":"logs","from":"b","to":"a"}`, http.StatusOK},
		"no such thing":  {PathPrefix + "x", `{}`, http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		g.Handler(p).ServeHTTP(w, httptest.NewRequest(http.MethodPost, x.path, strings.NewReader(x.body)))
		if w.Code != x.want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, x.want)
		}
	}
}

func TestOptions(t *testing.T) {
	_, err := New(Options{Set: "logs"})
	if err == nil || !strings.Contains(err.Error(), "Name is missing") || !strings.Contains(err.Error(), "HTTP is missing") {
		t.Errorf("error is %v", err)
	}
}

// Who the others are is known when the Leases have been read, and not before.
func TestKnown(t *testing.T) {
	simulate(t, func(s *set) {
		s.start("a", "")
		client := s.leases.Client()
		client.Break(true)
		g, err := New(Options{Set: "logs", Name: "b", ID: "b", URL: "http://b", Leases: client, HTTP: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		b := &one{Group: g, s: s, client: client, done: make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		b.stop = cancel
		go func() {
			defer close(b.done)
			b.Run(ctx)
		}()
		s.all = append(s.all, b)
		pass(10 * time.Second)
		select {
		case <-b.Known():
			t.Error("known although no Lease could be read")
		default:
		}
		client.Break(false)
		pass(time.Minute)
		select {
		case <-b.Known():
		default:
			t.Error("not known a minute after the Leases can be read")
		}
		b.sees("a=ready", "b=ready")
	})
}

// work is a Singleton.
type work struct {
	has     []model.Mark
	adopted []model.Mark
}

func (w *work) Handover() []model.Mark { return w.has }
func (w *work) Adopt(m []model.Mark)   { w.adopted = m }

// A new owner is told by all that work how far they are, and one that stops tells
// the next.
func TestSingletonMarks(t *testing.T) {
	simulate(t, func(s *set) {
		works := make(map[string]*work)
		for _, name := range []string{"a", "b", "c", "old"} {
			o := s.start(name, "")
			if name != "old" { // which knows nothing of it
				works[name] = &work{has: []model.Mark{{Key: "at", Value: []byte(name)}}}
				o.AddSingleton("events", works[name])
			}
		}
		pass(time.Minute)
		s.cut["c"] = true
		want := [][]model.Mark{works["b"].has}
		if d := cmp.Diff(want, s.all[0].AskMarks(context.Background(), "events")); d != "" {
			t.Error(d)
		}
		s.cut["c"] = false
		s.all[3].end(true)
		pass(time.Minute)
		for _, o := range s.all[:3] {
			owner := o.Owns("events")
			for _, w := range works {
				w.adopted = nil
			}
			if err := o.LeaveMarks(context.Background(), "events"); err != nil {
				t.Error(err)
			}
			var told []string
			for name, w := range works {
				if w.adopted != nil {
					told = append(told, name)
					if d := cmp.Diff(works[o.Self()].has, w.adopted); d != "" {
						t.Error(d)
					}
				}
			}
			if owner != (len(told) == 1) || slices.Contains(told, o.Self()) {
				t.Errorf("%s (owner: %v) tells %q", o.Self(), owner, told)
			}
			if !owner {
				continue
			}
			o.end(false)
			pass(time.Second)
			if next := s.one(told[0]); !next.Owns("events") {
				t.Errorf("%s was told, and is not the next owner", told[0])
			}
			break
		}
	})
}

func (s *set) one(name string) *one {
	return s.all[slices.IndexFunc(s.all, func(o *one) bool { return o.Self() == name })]
}
