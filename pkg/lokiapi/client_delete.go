package lokiapi

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// DeleteIDHeader carries the identifier of a delete request that was created.
const DeleteIDHeader = "X-Delete-Request-ID"

// DeleteRequest is an order to remove entries, as the deletion API lists it.
type DeleteRequest struct {
	ID string `json:"request_id"`
	// Start and End bound the timestamps, both included.
	Start UnixSeconds `json:"start_time"`
	End   UnixSeconds `json:"end_time"`
	Query string      `json:"query"`
	// Status is "received", "processed" or "NN% Complete".
	Status  string      `json:"status"`
	Created UnixSeconds `json:"created_at"`
	UserID  string      `json:"user_id"`
}

// UnixSeconds is a time that JSON has as seconds since the epoch, with up to
// three decimals.
type UnixSeconds time.Time

// Time is the time itself.
func (t UnixSeconds) Time() time.Time { return time.Time(t) }

// MarshalJSON writes a number.
func (t UnixSeconds) MarshalJSON() ([]byte, error) {
	return appendSeconds(nil, time.Time(t).UnixMilli()), nil
}

// UnmarshalJSON reads a number, to the millisecond.
func (t *UnixSeconds) UnmarshalJSON(text []byte) error {
	var seconds float64
	if err := json.Unmarshal(text, &seconds); err != nil {
		return err
	}
	if math.Abs(seconds) > math.MaxInt64/1000 {
		return fmt.Errorf("%s is not a time in seconds", text)
	}
	*t = UnixSeconds(time.UnixMilli(int64(math.Round(seconds * 1000))))
	return nil
}

// CreateDelete orders the removal of all entries of a query: a selector, with
// line and label filters if need be. They are gone from answers at once. end may
// be the zero time, which is the server's now. It returns the identifier of the
// request, "" if the server tells none.
func (c *Client) CreateDelete(ctx context.Context, query string, start, end time.Time) (id string, err error) {
	// Numbers would be seconds here, unlike everywhere else.
	v := url.Values{"query": {query}, "start": {start.UTC().Format(time.RFC3339Nano)}}
	if !end.IsZero() {
		v.Set("end", end.UTC().Format(time.RFC3339Nano))
	}
	req, err := c.request(ctx, http.MethodPost, "/loki/api/v1/delete", v, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.send(req)
	if err != nil {
		return "", err
	}
	return resp.Header.Get(DeleteIDHeader), resp.Body.Close()
}

// Deletes lists the delete requests, oldest first.
func (c *Client) Deletes(ctx context.Context) ([]DeleteRequest, error) {
	var out []DeleteRequest
	err := c.getJSON(ctx, "/loki/api/v1/delete", nil, &out)
	return out, err
}

// CancelDelete takes a delete request back. force also stops one that has
// begun: what it has removed stays removed.
func (c *Client) CancelDelete(ctx context.Context, id string, force bool) error {
	v := url.Values{"request_id": {id}}
	if force {
		v.Set("force", strconv.FormatBool(force))
	}
	req, err := c.request(ctx, http.MethodDelete, "/loki/api/v1/delete", v, nil)
	if err != nil {
		return err
	}
	_, err = c.do(req)
	return err
}
