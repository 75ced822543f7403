package lokiapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// What concerns one of several replicas. These paths answer for the very replica
// that is asked: name it by its own address, not by that of the Service.
const (
	// LeavePath begins to hand everything over to the other replicas (POST), and
	// tells how far that has come (GET).
	LeavePath = "/logstack/v1/leave"
	// MembersPath lists the replicas (GET), and forgets one that will not come back
	// (DELETE ?name=…): what it holds is given up.
	MembersPath = "/logstack/v1/peers"
)

// States of a replica.
const (
	ReplicaActive  = "active"
	ReplicaLeaving = "leaving" // it hands its entries over
	ReplicaLeft    = "left"    // others have all of them: it may be taken away
)

// LeaveStatus tells how far a replica has come in leaving.
type LeaveStatus struct {
	// State is one of the states of a replica.
	State string `json:"state"`
	// Shipped counts the entries that other replicas have taken over, of about Total.
	Shipped int64 `json:"shipped"`
	Total   int64 `json:"total"`
	// Error is what keeps it from going on; it tries again.
	Error string `json:"error,omitempty"`
}

// Member is the state of a replica, as the one that was asked sees it.
type Member struct {
	Name string `json:"name"`
	URL  string `json:"url,omitempty"`
	// Self marks the replica that answers. Live is whether the others hear of it.
	Self bool `json:"self,omitempty"`
	Live bool `json:"live"`
	// State is one of the states of a replica, "" if it has never answered.
	State string `json:"state,omitempty"`
	// Answers is whether it did when it was last asked, Error why not.
	Answers bool   `json:"answers"`
	Error   string `json:"error,omitempty"`
	// Oldest and Newest bound what it holds, as it said when it was last Seen.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	Seen   *time.Time `json:"seen,omitempty"`
}

// Leave has the replica hand everything over to the others. It returns when that
// has begun; LeaveStatus tells when it is done. A *StatusError of 409 says that
// there is nobody to hand it over to. Asking again does nothing.
func (c *Client) Leave(ctx context.Context) (LeaveStatus, error) {
	req, err := c.request(ctx, http.MethodPost, LeavePath, nil, nil)
	if err != nil {
		return LeaveStatus{}, err
	}
	body, err := c.do(req)
	if err != nil {
		return LeaveStatus{}, err
	}
	return readLeaveStatus(body)
}

// LeaveStatus tells how far the replica has come in leaving.
func (c *Client) LeaveStatus(ctx context.Context) (LeaveStatus, error) {
	body, err := c.get(ctx, LeavePath, nil, nil)
	if err != nil {
		return LeaveStatus{}, err
	}
	return readLeaveStatus(body)
}

func readLeaveStatus(body []byte) (LeaveStatus, error) {
	var st LeaveStatus
	if err := json.Unmarshal(body, &st); err != nil {
		return st, fmt.Errorf("reading the answer of %s: %w", LeavePath, err)
	}
	return st, nil
}

// Members lists the replicas that the one that is asked knows, itself included.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var out []Member
	err := c.getJSON(ctx, MembersPath, nil, &out)
	return out, err
}

// ForgetMember gives up what a replica holds that will not come back.
func (c *Client) ForgetMember(ctx context.Context, name string) error {
	req, err := c.request(ctx, http.MethodDelete, MembersPath, url.Values{"name": {name}}, nil)
	if err != nil {
		return err
	}
	_, err = c.do(req)
	return err
}
