package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

const (
	defaultTargets, maxTargets = 1000, 10_000
	// askTimeout bounds a question to another replica, maxAnswer its answer.
	askTimeout = 5 * time.Second
	maxAnswer  = 16 << 20
)

// mountOperator serves what an operator wants to know in detail.
func (p *parts) mountOperator() {
	p.server.Mount("GET "+lokiapi.TargetsPath, http.HandlerFunc(p.serveTargets))
	p.server.Mount("GET "+lokiapi.ReplicasPath, http.HandlerFunc(p.serveReplicas))
}

// serveTargets lists the containers that are read.
func (p *parts) serveTargets(w http.ResponseWriter, r *http.Request) {
	req, err := parseTargets(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := lokiapi.Targets{Targets: p.ownTargets(req)}
	if !req.Local {
		members := p.otherMembers()
		if len(members) > 0 {
			for i := range out.Targets {
				out.Targets[i].Replica = p.cfg.replicaName()
			}
		}
		local := req
		local.Local, local.Limit = true, maxTargets
		for i, a := range p.askAll(r.Context(), members, lokiapi.TargetsPath+"?"+local.Values().Encode()) {
			var theirs lokiapi.Targets
			if a.err == nil {
				a.err = json.Unmarshal(a.body, &theirs)
			}
			if a.err != nil {
				out.Errors = append(out.Errors, fmt.Sprintf("replica %s: %v", members[i].Name, a.err))
				continue
			}
			for _, t := range theirs.Targets {
				t.Replica = members[i].Name
				out.Targets = append(out.Targets, t)
			}
		}
		slices.SortStableFunc(out.Targets, func(a, b lokiapi.Target) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
		})
	}
	out.Total = len(out.Targets)
	out.Targets = out.Targets[:min(len(out.Targets), req.Limit)]
	writeJSON(w, out)
}

func parseTargets(r *http.Request) (lokiapi.TargetsRequest, error) {
	q := r.URL.Query()
	req := lokiapi.TargetsRequest{Namespace: q.Get("namespace"), State: q.Get("state"), Limit: defaultTargets, Local: q.Get("local") == "true"}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxTargets {
			return req, fmt.Errorf("limit %q: a number from 1 to %d", s, maxTargets)
		}
		req.Limit = n
	}
	if req.State != "" && !slices.Contains(podlogs.TargetStates(), podlogs.TargetState(req.State)) {
		return req, fmt.Errorf("state %q: one of %v", req.State, podlogs.TargetStates())
	}
	return req, nil
}

// ownTargets are the targets of this replica.
func (p *parts) ownTargets(req lokiapi.TargetsRequest) []lokiapi.Target {
	p.mu.Lock()
	pods := p.podlogs
	p.mu.Unlock()
	list := []lokiapi.Target{}
	if pods == nil {
		return list
	}
	for _, t := range pods.Targets() {
		if req.Namespace != "" && t.Namespace != req.Namespace || req.State != "" && string(t.State) != req.State {
			continue
		}
		out := lokiapi.Target{
			Namespace: t.Namespace, Pod: t.Pod, Container: t.Container, Node: t.Node, State: string(t.State), Reason: t.Reason,
			Source: string(t.Source), FilesProblem: t.FilesProblem,
		}
		if !t.LastLine.IsZero() {
			at := t.LastLine.UTC()
			out.LastLine = &at
		}
		list = append(list, out)
	}
	return list
}

// serveReplicas lists the states of all replicas.
func (p *parts) serveReplicas(w http.ResponseWriter, r *http.Request) {
	own, err := p.ownStatus()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := []lokiapi.Replica{{Name: p.cfg.replicaName(), Self: true, Status: own}}
	members := p.otherMembers()
	for i, a := range p.askAll(r.Context(), members, lokiapi.StatusPath) {
		m := lokiapi.Replica{Name: members[i].Name}
		switch {
		case a.err != nil:
			m.Error = a.err.Error()
		case !json.Valid(a.body):
			m.Error = "its answer is no JSON"
		default:
			m.Status = a.body
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b lokiapi.Replica) int { return cmp.Compare(a.Name, b.Name) })
	writeJSON(w, list)
}

// otherMembers are the other replicas that are known.
func (p *parts) otherMembers() []lokiapi.Member {
	p.mu.Lock()
	all := p.peering.store
	p.mu.Unlock()
	if all == nil {
		return nil
	}
	return slices.DeleteFunc(all.Members(), func(m lokiapi.Member) bool { return m.Self })
}

type answer struct {
	body []byte
	err  error
}

// askAll asks replicas at the same time; answers are in their order.
func (p *parts) askAll(ctx context.Context, members []lokiapi.Member, path string) []answer {
	answers := make([]answer, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { answers[i].body, answers[i].err = p.ask(ctx, m, path) })
	}
	wg.Wait()
	return answers
}

func (p *parts) ask(ctx context.Context, m lokiapi.Member, path string) ([]byte, error) {
	if m.URL == "" {
		return nil, errors.New("its address is not known")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.operator.peers.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	return body, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client is gone
}
