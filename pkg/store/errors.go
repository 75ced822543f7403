package store

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrClosed is returned by every method after Close.
var ErrClosed = errors.New("store: closed")

// ErrLocked is wrapped by the error of Open when another process has the
// directory open.
var ErrLocked = errors.New("store: data directory is in use")

// LockedError is the error of Open when another process has the directory open.
type LockedError struct {
	Dir string
	// PID is the other process, 0 when unknown.
	PID int
}

// Error says who has it and what to do.
func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("store: data directory %s is in use by %s: stop it, or choose another directory", e.Dir, who)
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }

// FormatError is the error of Open when the directory was written by a newer
// version, or is not a data directory.
type FormatError struct {
	Dir string
	// Found is the directory's format version; 0 when File holds something else.
	Found, Supported int
}

// Error says what to do.
func (e *FormatError) Error() string {
	if e.Found == 0 {
		return fmt.Sprintf("store: %s is not a data directory of this program (its file %s says so): choose another directory", e.Dir, formatFile)
	}
	return fmt.Sprintf("store: data directory %s has format version %d, this program supports up to %d: it was written by a newer version; upgrade to that version or choose another directory", e.Dir, e.Found, e.Supported)
}

// DiskFullError says that something could not be written for lack of space.
// Nothing of the batch is stored, what is stored can be queried, and appending
// works again as soon as there is space.
type DiskFullError struct {
	Dir string
	Err error
}

// Error says what to do.
func (e *DiskFullError) Error() string {
	return fmt.Sprintf("store: no space left in %s: free some, enlarge the volume, or lower the disk limit or the retention: %v", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *DiskFullError) Unwrap() error { return e.Err }

// InvalidBatchError says that a batch can never be stored as it is.
type InvalidBatchError struct {
	// Stream are the labels of the stream, "" when the batch as a whole is meant.
	Stream string
	Reason string
}

// Error names stream and reason.
func (e *InvalidBatchError) Error() string {
	if e.Stream == "" {
		return "store: invalid batch: " + e.Reason
	}
	return fmt.Sprintf("store: invalid batch: stream %s: %s", e.Stream, e.Reason)
}

// ErrNoDelete is wrapped by the error of CancelDelete when there is no such
// request.
var ErrNoDelete = errors.New("there is no such delete request")

// InvalidDeleteError says that a delete request cannot be accepted.
type InvalidDeleteError struct{ Reason string }

// Error names the reason.
func (e *InvalidDeleteError) Error() string { return "store: invalid delete request: " + e.Reason }

// DeleteBegunError is the error of CancelDelete when it comes too late.
type DeleteBegunError struct {
	ID string
	// Processed says that nothing is left to cancel.
	Processed bool
}

// Error says what to do.
func (e *DeleteBegunError) Error() string {
	if e.Processed {
		return fmt.Sprintf("store: delete request %s has been carried out: it cannot be cancelled any more", e.ID)
	}
	return fmt.Sprintf("store: delete request %s is being carried out: use force to keep the entries that are still there", e.ID)
}

// diskFull turns an error that means a full disk (or quota, or file size limit)
// into a DiskFullError.
func diskFull(dir string, err error) error {
	var full *DiskFullError
	if err == nil || errors.As(err, &full) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return &DiskFullError{Dir: dir, Err: err}
	}
	return err
}
