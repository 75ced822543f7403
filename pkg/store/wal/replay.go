package wal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// CorruptionError says which bytes of a segment could not be read.
type CorruptionError struct {
	// File is the segment's path; Offset is where the damage was noticed, End
	// where reading went on (the file's size if it did not).
	File        string
	Offset, End int64
	// Torn says that the damage is at the very end of the log, where a crash
	// leaves an unfinished write: nothing acknowledged is lost.
	Torn bool
	Err  error
}

// Error says what is lost.
func (e *CorruptionError) Error() string {
	if e.Torn {
		return fmt.Sprintf("wal: %s ends in an unfinished write at byte %d, which was never acknowledged: %v", e.File, e.Offset, e.Err)
	}
	return fmt.Sprintf("wal: %s is damaged from byte %d to %d, the entries in between are lost: %v", e.File, e.Offset, e.End, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptionError) Unwrap() error { return e.Err }

// ReplayResult says what Open found.
type ReplayResult struct {
	Segments int
	Records  int
	Entries  int
	// LostRefs counts entries that were readable but whose stream's definition
	// was in a damaged part.
	LostRefs int
	// Damage lists what could not be read. A torn end is listed too.
	Damage []*CorruptionError
}

// streams resolves the references of one segment while it is replayed.
type streams map[uint32]labels.Labels

// replay reads the segments in order.
func (l *Log) replay(segs []int, fn func(int, *Record) error) (*ReplayResult, error) {
	res := &ReplayResult{Segments: len(segs)}
	var dec Decoder
	for _, s := range segs {
		name := wlog.SegmentName(l.opts.Dir, s)
		if err := l.replaySegment(name, s, &dec, res, fn); err != nil {
			return nil, err
		}
	}
	l.judge(segs, res)
	return res, nil
}

// judge decides which damage is the torn end of the log: nothing readable
// follows it in any segment.
func (l *Log) judge(segs []int, res *ReplayResult) {
	for i, d := range res.Damage {
		last := i == len(res.Damage)-1
		d.Torn = last && d.Torn && l.emptyAfter(segs, d.File)
		if d.Torn {
			l.logger.Info("the write-ahead log ends in an unfinished write, as after a crash: it was never acknowledged and is left out", "file", d.File, "offset", d.Offset)
			l.cutOff(d)
		} else {
			l.logger.Error("the write-ahead log is damaged: everything that can be read is kept", "file", d.File, "offset", d.Offset, "end", d.End, "err", d.Err)
		}
	}
	if res.LostRefs > 0 {
		l.logger.Error("entries of the write-ahead log are lost because the names of their streams were damaged", "entries", res.LostRefs)
	}
}

// cutOff removes an unfinished write. The next segment begins behind it: left in
// place, it would look like damage in the middle of the log to the next start.
func (l *Log) cutOff(d *CorruptionError) {
	f, err := os.OpenFile(d.File, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Truncate(d.Offset), f.Sync(), f.Close())
	}
	if err != nil {
		l.logger.Warn("cannot remove an unfinished write from the write-ahead log: later starts will take it for damage", "file", d.File, "err", err)
		return
	}
	for s := range l.sizes {
		if wlog.SegmentName(l.opts.Dir, s) == d.File {
			l.sizes[s] = d.Offset
		}
	}
}

// emptyAfter says whether all segments after the named one are empty. They are
// after a crash, because every start begins a segment.
func (l *Log) emptyAfter(segs []int, file string) bool {
	after := false
	for _, s := range segs {
		name := wlog.SegmentName(l.opts.Dir, s)
		if after && l.sizes[s] > 0 {
			return false
		}
		after = after || name == file
	}
	return true
}

// replaySegment reads one segment and goes on at the next page after damage.
func (l *Log) replaySegment(name string, seg int, dec *Decoder, res *ReplayResult, fn func(int, *Record) error) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	size := st.Size()
	l.sizes[seg] = size
	refs := streams{}
	var damage *CorruptionError // the one that is still going on
	for off := int64(0); off < size; {
		end, n, cause, err := l.readFrom(f, off, size, seg, refs, dec, res, fn)
		if err != nil {
			return err
		}
		if n > 0 && damage != nil {
			damage.End, damage.Torn = off, false
			damage = nil
		}
		if cause == nil {
			break
		}
		if damage == nil {
			damage = &CorruptionError{File: name, Offset: end, End: size, Torn: true, Err: cause}
			res.Damage = append(res.Damage, damage)
		}
		off = end + toNextPage(end)
		if off == end {
			off += pageSize
		}
	}
	return nil
}

// readFrom replays records from a page boundary until the end or damage. It
// returns the offset where it stopped, the number of records and the cause.
func (l *Log) readFrom(f *os.File, off, size int64, seg int, refs streams, dec *Decoder, res *ReplayResult, fn func(int, *Record) error) (end int64, n int, cause, err error) {
	skip, err := leftover(f, off)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("wal: %w", err)
	}
	body := io.MultiReader(bytes.NewReader(skip), bufio.NewReaderSize(io.NewSectionReader(f, off+int64(len(skip)), size-off-int64(len(skip))), 4*pageSize))
	r := wlog.NewReader(&pageReader{r: body, pad: toNextPage(size)})
	good := off // end of the last record
	for r.Next() {
		if len(skip) > 0 {
			skip = nil
			continue
		}
		rec, derr := dec.Decode(r.Record())
		if derr != nil {
			return off + r.Offset(), n, derr, nil
		}
		n++
		res.Records++
		resolve(rec, refs, res)
		if err := fn(seg, rec); err != nil {
			return 0, n, nil, err
		}
		good = off + r.Offset()
	}
	if r.Err() == nil {
		return size, n, nil, nil
	}
	var ce *wlog.CorruptionErr
	if errors.As(r.Err(), &ce) {
		cause = ce.Err
	} else {
		cause = r.Err()
	}
	// Reading goes on at the first page boundary after the last good record: a
	// fragment with a wrong length would otherwise hide intact pages.
	return good, n, cause, nil
}

// leftover looks at the page at off, where reading goes on after damage. Often it
// begins with the rest of a record that is lost, which wlog's reader would not
// accept. It returns what to read instead of these fragments: one record of the
// same length that means nothing.
func leftover(f *os.File, off int64) ([]byte, error) {
	const typeMask, middle, last = 7, 3, 4 // wlog's, part of its format
	if off == 0 {
		return nil, nil
	}
	var page [pageSize]byte
	n, err := f.ReadAt(page[:], off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	end := 0
	for end+fragmentHeader <= n {
		typ := page[end] & typeMask
		size := int(binary.BigEndian.Uint16(page[end+1:]))
		if typ != middle && typ != last || end+fragmentHeader+size > n {
			break
		}
		end += fragmentHeader + size
	}
	if end == 0 {
		return nil, nil
	}
	b := make([]byte, end)
	b[0] = 1 // a whole record, not compressed
	binary.BigEndian.PutUint16(b[1:], uint16(end-fragmentHeader))
	binary.BigEndian.PutUint32(b[3:], crc32.Checksum(b[fragmentHeader:], crc32.MakeTable(crc32.Castagnoli)))
	return b, nil
}

// resolve keeps the definitions of a record and counts entries without one.
func resolve(rec *Record, refs streams, res *ReplayResult) {
	for _, d := range rec.Definitions {
		refs[d.Ref] = d.Labels
	}
	kept := rec.Streams[:0]
	rec.resolved = rec.resolved[:0]
	for _, s := range rec.Streams {
		ls, ok := refs[s.Ref]
		if !ok {
			res.LostRefs += len(s.Entries)
			continue
		}
		res.Entries += len(s.Entries)
		kept = append(kept, s)
		rec.resolved = append(rec.resolved, ls)
	}
	rec.Streams = kept
}

// pageReader reads a file and then zeros up to a page boundary: a segment that
// was not closed ends within a page, which wlog's reader does not expect.
type pageReader struct {
	r   io.Reader
	pad int64
}

func (p *pageReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != io.EOF || p.pad == 0 {
		return n, err
	}
	if int64(len(b)) > p.pad {
		b = b[:p.pad]
	}
	clear(b)
	p.pad -= int64(len(b))
	return len(b), nil
}
