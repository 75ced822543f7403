package lokiapi

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// What an operator wants to know.
const (
	// TargetsPath lists the containers that are read (GET): of all replicas,
	// with local=true of the one that is asked; namespace= and state= choose,
	// limit= bounds (1000, at most 10000).
	TargetsPath = "/logstack/v1/targets"
	// ReplicasPath lists the states of all replicas (GET).
	ReplicasPath = "/logstack/v1/replicas"
)

// Target is one container whose log is read.
type Target struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Node      string `json:"node,omitempty"`
	// State is waiting, catching_up, following, polling, draining, retrying or done.
	State string `json:"state"`
	// Reason says why it waits or retries.
	Reason string `json:"reason,omitempty"`
	// Source is where the log is read from, "api" or "files"; FilesProblem says
	// why it is not read from the node's files, if it was to be.
	Source       string `json:"source,omitempty"`
	FilesProblem string `json:"filesProblem,omitempty"`
	// LastLine is the timestamp of the last line stored, nil if there is none.
	LastLine *time.Time `json:"lastLine,omitempty"`
	// Replica is who reads it, "" where there is only one.
	Replica string `json:"replica,omitempty"`
}

// Targets answers TargetsPath.
type Targets struct {
	Targets []Target `json:"targets"`
	// Total is how many there are that were asked for; more than are listed if
	// there was a limit.
	Total int `json:"total"`
	// Errors tell which replicas could not be asked, and why.
	Errors []string `json:"errors,omitempty"`
}

// TargetsRequest chooses targets; zero values choose all.
type TargetsRequest struct {
	Namespace, State string
	Limit            int
	Local            bool
}

// Values are the parameters of the request.
func (r TargetsRequest) Values() url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("namespace", r.Namespace)
	set("state", r.State)
	if r.Limit > 0 {
		v.Set("limit", strconv.Itoa(r.Limit))
	}
	if r.Local {
		v.Set("local", "true")
	}
	return v
}

// Replica is one replica's state, as ReplicasPath lists it.
type Replica struct {
	Name string `json:"name"`
	// Self marks the replica that answers.
	Self bool `json:"self,omitempty"`
	// Error is why it could not be asked.
	Error string `json:"error,omitempty"`
	// Status is what StatusPath answers.
	Status json.RawMessage `json:"status,omitempty"`
}

// OperatorStatus is the part "operator" of what StatusPath answers. Fields are
// only ever added.
type OperatorStatus struct {
	// Lag is nil where no container logs are collected.
	Lag *LagStatus `json:"lag,omitempty"`
	// Gaps are those of the last day, by reason and namespace.
	Gaps []GapCount `json:"gaps"`
	// Requests is how many requests per second were made of the API server in
	// the last minute.
	Requests float64      `json:"requestsPerSecond"`
	Memory   MemoryStatus `json:"memory"`
	Disk     DiskStatus   `json:"disk"`
	// Problems are those that no part of the status tells itself, each with its
	// remedy.
	Problems []string `json:"problems,omitempty"`
}

// LagStatus tells how long lines of the last minutes took from their stamp to
// the disk, in seconds.
type LagStatus struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Lines int64   `json:"lines"`
	// Window is the time in which the lines came, in seconds.
	Window float64 `json:"window"`
}

// GapCount is a number of gaps.
type GapCount struct {
	Namespace string `json:"namespace,omitempty"`
	Reason    string `json:"reason"`
	Count     int64  `json:"count"`
}

// MemoryStatus is in bytes.
type MemoryStatus struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
}

// DiskStatus is in bytes.
type DiskStatus struct {
	Used int64 `json:"used"`
	// Limit is where entries begin to be removed for their size, or the volume
	// ends; 0 if that is not known.
	Limit int64 `json:"limit,omitempty"`
	// PerDay is how much a day's entries take, on average; 0 if not known yet.
	PerDay int64 `json:"perDay,omitempty"`
	// DaysLeft is when the limit is reached at that rate, nil if never: retention
	// removes entries before, or the rate is not known.
	DaysLeft *float64 `json:"daysLeft,omitempty"`
}

// Targets lists the containers that are read.
func (c *Client) Targets(ctx context.Context, r TargetsRequest) (Targets, error) {
	var out Targets
	err := c.getJSON(ctx, TargetsPath, r.Values(), &out)
	return out, err
}

// Replicas lists the states of all replicas.
func (c *Client) Replicas(ctx context.Context) ([]Replica, error) {
	var out []Replica
	err := c.getJSON(ctx, ReplicasPath, nil, &out)
	return out, err
}
