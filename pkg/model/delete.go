package model

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// DeleteRequest says which of the entries that are stored now are to disappear.
type DeleteRequest struct {
	// Matchers all have to match a stream's labels; at least one is needed.
	Matchers []*labels.Matcher
	Range    TimeRange
	// Filter narrows it down to single entries. It is opaque to the store, which
	// keeps the text and has it compiled to an EntryFilter. "" concerns all
	// entries.
	Filter string
	// Query is the request as a person wrote it, for lists.
	Query string
}

// DeleteState says how far a delete request has come. Readers do not see the
// entries any more from the beginning.
type DeleteState uint8

const (
	// DeleteReceived requests have changed no file: they can be cancelled.
	DeleteReceived DeleteState = iota
	// DeleteBegun requests have been carried out in some blocks.
	DeleteBegun
	// DeleteProcessed requests have been carried out everywhere.
	DeleteProcessed
)

// DeleteStatus describes a delete request.
type DeleteStatus struct {
	ID      string
	Query   string
	Range   TimeRange
	Created time.Time
	State   DeleteState
	// Percent of the blocks that are done, while State is DeleteBegun: 0 to 99.
	Percent int
}

// EntryFilter chooses entries. It is used by many goroutines.
type EntryFilter struct {
	// Contains are byte strings that occur in every line which the filter
	// chooses, like SelectRequest.Contains.
	Contains []string
	// Stream returns what decides on the entries of one stream. It is used by one
	// goroutine and keeps nothing of line and metadata.
	Stream func(ls labels.Labels) func(ts int64, line string, metadata labels.Labels) bool
}
