package podlogs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// errFileGone says that the file at the position is not there any more: it was
// rotated so often that the kubelet removed it.
var errFileGone = errors.New("the file that was being read was removed")

// chain reads the files of one run, one after the other as they were written,
// to the end of the live one, and again from there.
//
// Names change while it reads: the live file is renamed, the renamed one
// compressed, sometimes a rename is undone. So a file is known by its
// fingerprint. What a request for the live file brings is believed to be of that
// file only if its head, asked for afterwards, still has the fingerprint: files
// take the live name one after the other and do not come back.
type chain struct {
	src fileSource
	dir nodefiles.Dir
	run int32
	max int // length of lines

	file nodefiles.File
	id   uint64 // fingerprint of file, 0 while it is empty
	off  int64  // of the first record not read
	// after is the stamp of the file before a live one that is empty, "" if there
	// is none.
	after string
	// rested says that nobody has written to the file for some seconds when it
	// was last opened.
	rested bool
	// verified is when the live file was last written to, as of a time when it had
	// its fingerprint and had been left alone: another file has a later time.
	verified time.Time
	// more says that the last pass ended before the end of the live file.
	more bool
	// bad counts lines that were no records.
	bad int64
}

// maxMoves bounds how often names may change under one pass.
const maxMoves = 16

// fileID is the fingerprint of a file by name, 0 if it has none yet.
func (c *chain) fileID(ctx context.Context, f nodefiles.File) (uint64, error) {
	head, err := c.src.Head(ctx, c.dir, f)
	if err != nil {
		return 0, err
	}
	id, ok := nodefiles.Fingerprint(head)
	if !ok && len(head) == nodefiles.HeadBytes {
		return 0, nodefiles.ErrFormat
	}
	return id, nil
}

// list returns the files of the run.
func (c *chain) list(ctx context.Context) ([]nodefiles.File, error) {
	files, err := c.src.List(ctx, c.dir)
	if err != nil {
		return nil, err
	}
	return nodefiles.OfRun(files, c.run), nil
}

// begin goes to the beginning of a file.
func (c *chain) begin(ctx context.Context, f nodefiles.File) error {
	id, err := c.fileID(ctx, f)
	if err != nil && !(f.Live() && nodefiles.KindOf(err) == nodefiles.KindNotFound) {
		return err
	}
	c.file, c.id, c.off, c.verified = f, id, 0, time.Time{}
	return nil
}

// locate finds the file with the fingerprint under its present name.
func (c *chain) locate(ctx context.Context, id uint64) error {
	for range 3 {
		files, err := c.list(ctx)
		if err != nil {
			return err
		}
		again := false
		for i := len(files) - 1; i >= 0; i-- {
			got, err := c.fileID(ctx, files[i])
			if nodefiles.KindOf(err) == nodefiles.KindNotFound {
				again = true // renamed meanwhile
				continue
			}
			if err != nil {
				return err
			}
			if got == id {
				c.file, c.id = files[i], id
				return nil
			}
		}
		if !again {
			break
		}
	}
	return errFileGone
}

// pass shows every record from the present place on to f, to the end of what
// there is. errFileGone leaves the place as it is.
func (c *chain) pass(ctx context.Context, f func(*nodefiles.Record) error) error {
	for range maxMoves {
		c.more = true
		moved, err := c.readFile(ctx, f)
		if err != nil {
			return err
		}
		if !moved {
			c.more = !c.file.Live()
			return nil
		}
	}
	return nil
}

// readFile reads the present file to its end; moved says that there may be more
// under another name.
func (c *chain) readFile(ctx context.Context, f func(*nodefiles.Record) error) (moved bool, err error) {
	if c.id == 0 {
		if err := c.next(ctx); err != nil || c.id == 0 {
			return false, err
		}
	}
	body, err := c.src.Open(ctx, c.dir, c.file, c.off)
	if nodefiles.KindOf(err) == nodefiles.KindNotFound {
		return true, c.locate(ctx, c.id)
	}
	if err != nil {
		return false, err
	}
	defer body.Close()
	if c.file.Live() && !c.unchanged(body) {
		id, err := c.fileID(ctx, c.file)
		if err != nil && nodefiles.KindOf(err) != nodefiles.KindNotFound {
			return false, err
		}
		if id != c.id {
			body.Close()
			return true, c.locate(ctx, c.id)
		}
		c.verified = time.Time{}
		if body.Rested {
			c.verified = body.Modified
		}
	}
	if !c.file.Gzip && body.Size < c.off {
		return false, fmt.Errorf("file %s of node %s has become shorter: %d bytes, %d were read", c.file.Name(), c.dir.Node, body.Size, c.off)
	}
	c.rested = body.Rested
	if err := c.records(body, f); err != nil {
		return false, err
	}
	if c.file.Live() {
		return false, nil
	}
	if !c.file.Gzip && !c.rested {
		return false, nil // the runtime may still have something for it
	}
	return true, c.next(ctx)
}

// unchanged says that a live file is the one that was read to its end. The size
// alone does not: another file may have grown to the same one.
func (c *chain) unchanged(body *nodefiles.Body) bool {
	return body.Size == c.off && !body.Modified.IsZero() && body.Modified.Equal(c.verified)
}

// records shows the records of one body.
func (c *chain) records(body io.Reader, f func(*nodefiles.Record) error) error {
	r := nodefiles.NewReader(body, c.off, c.max)
	defer r.Close()
	var rec nodefiles.Record
	for {
		err := r.Next(&rec)
		switch {
		case errors.Is(err, io.EOF):
			c.bad += r.Bad()
			if !c.file.Live() && (c.rested || c.file.Gzip) && r.Rest(&rec) {
				return c.show(&rec, f) // cut short for good
			}
			return nil
		case err != nil:
			return fmt.Errorf("file %s of node %s: %w", c.file.Name(), c.dir.Node, err)
		}
		if err := c.show(&rec, f); err != nil {
			return err
		}
	}
}

func (c *chain) show(rec *nodefiles.Record, f func(*nodefiles.Record) error) error {
	c.off = rec.End
	return f(rec)
}

// next goes to the file after a rotated one that was read to its end, or looks
// again for it if that is a live file without a record so far.
func (c *chain) next(ctx context.Context) error {
	if !c.file.Live() {
		c.after = c.file.Stamp
	}
	// The live file's fingerprint first: if nothing was rotated by the time of
	// the listing, it is that of the file after this one.
	live, err := c.fileID(ctx, nodefiles.Live(c.run))
	if err != nil && nodefiles.KindOf(err) != nodefiles.KindNotFound {
		return err
	}
	if live == 0 && c.file.Live() {
		return nil // empty as before
	}
	files, err := c.list(ctx)
	if err != nil {
		return err
	}
	i := 0
	if c.after != "" {
		if i = slices.IndexFunc(files, func(f nodefiles.File) bool { return f.Stamp == c.after }) + 1; i == 0 {
			if c.id == 0 {
				return errFileGone
			}
			return c.locate(ctx, c.id) // renamed back, or removed
		}
	}
	if i == len(files) || files[i].Live() {
		c.file, c.id, c.off, c.verified = nodefiles.Live(c.run), live, 0, time.Time{}
		return nil
	}
	return c.begin(ctx, files[i])
}

// last reads a record without newline at the end of a live file that nobody
// writes to any more.
func (c *chain) last(ctx context.Context, f func(*nodefiles.Record) error) error {
	if c.id == 0 || !c.file.Live() {
		return nil
	}
	body, err := c.src.Open(ctx, c.dir, c.file, c.off)
	if err != nil {
		return err
	}
	defer body.Close()
	r := nodefiles.NewReader(body, c.off, c.max)
	defer r.Close()
	var rec nodefiles.Record
	if err := r.Next(&rec); errors.Is(err, io.EOF) && r.Rest(&rec) {
		return c.show(&rec, f)
	}
	return nil
}
