package main

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
)

// writer is what has arrived of one id.
type writer struct {
	// seen counts how often each number arrived.
	seen    map[uint64]int
	lo, hi  uint64
	damaged int
}

// report is the answer of verify.
type report struct {
	writers map[string]*writer
	// plain counts lines without the fields.
	plain int
}

// maxLine is longer than any line that generate makes (-pad is limited).
const maxLine = 4 << 20

// verify reads lines to the end of in.
func verify(in io.Reader) (*report, error) {
	r := &report{writers: map[string]*writer{}}
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), maxLine)
	for s.Scan() {
		r.add(s.Bytes())
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read lines: %w", err)
	}
	return r, nil
}

func (r *report) add(line []byte) {
	id, seq, intact, ok := parseLine(line)
	if !ok {
		r.plain++
		return
	}
	w := r.writers[id]
	if w == nil {
		w = &writer{seen: map[uint64]int{}, lo: seq, hi: seq}
		r.writers[id] = w
	}
	w.seen[seq]++
	w.lo, w.hi = min(w.lo, seq), max(w.hi, seq)
	if !intact {
		w.damaged++
	}
}

// parseLine takes the last three fields off a line.
func parseLine(line []byte) (id string, seq uint64, intact, ok bool) {
	crcAt, idKey, seqKey, crcKey := 0, ` id=`, ` seq=`, ` crc=`
	rest := bytes.TrimRight(line, "\r\n")
	if inner, ok := bytes.CutSuffix(rest, []byte(`"}`)); ok {
		idKey, seqKey, crcKey = `,"id":"`, `,"seq":`, `,"crc":"`
		rest = inner
	}
	if crcAt = bytes.LastIndex(rest, []byte(crcKey)); crcAt < 0 {
		return "", 0, false, false
	}
	body, sum := rest[:crcAt], string(rest[crcAt+len(crcKey):])
	seqAt := bytes.LastIndex(body, []byte(seqKey))
	if seqAt < 0 {
		return "", 0, false, false
	}
	seq, err := strconv.ParseUint(string(body[seqAt+len(seqKey):]), 10, 64)
	idAt := bytes.LastIndex(body[:seqAt], []byte(idKey))
	if err != nil || idAt < 0 {
		return "", 0, false, false
	}
	id = strings.TrimSuffix(string(body[idAt+len(idKey):seqAt]), `"`)
	return id, seq, sum == fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)), true
}

// missing returns the gaps between the first and the last number that arrived,
// as inclusive ranges.
func (w *writer) missing() [][2]uint64 {
	var gaps [][2]uint64
	next := w.lo
	for _, seq := range w.numbers() {
		if seq > next {
			gaps = append(gaps, [2]uint64{next, seq - 1})
		}
		next = seq + 1
	}
	return gaps
}

func (w *writer) numbers() []uint64 {
	var all []uint64
	for seq := range w.seen {
		all = append(all, seq)
	}
	slices.Sort(all)
	return all
}

func (w *writer) doubled() []uint64 {
	var all []uint64
	for _, seq := range w.numbers() {
		if w.seen[seq] > 1 {
			all = append(all, seq)
		}
	}
	return all
}

func (w *writer) ok() bool {
	return w.damaged == 0 && len(w.doubled()) == 0 && uint64(len(w.seen)) == w.hi-w.lo+1
}

// ok reports that at least one line came and nothing is wrong with any.
func (r *report) ok() bool {
	for _, w := range r.writers {
		if !w.ok() {
			return false
		}
	}
	return len(r.writers) > 0
}

// String is one line per writer, then a total.
func (r *report) String() string {
	var ids []string
	for id := range r.writers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var b strings.Builder
	lines := 0
	for _, id := range ids {
		w := r.writers[id]
		lines += len(w.seen)
		fmt.Fprintf(&b, "%s: %d..%d, %d lines", id, w.lo, w.hi, len(w.seen))
		if gaps := w.missing(); len(gaps) > 0 {
			fmt.Fprintf(&b, ", missing %s", ranges(gaps))
		}
		if d := w.doubled(); len(d) > 0 {
			fmt.Fprintf(&b, ", doubled %v", d[:min(len(d), maxShown)])
			if len(d) > maxShown {
				fmt.Fprintf(&b, " and %d more", len(d)-maxShown)
			}
		}
		if w.damaged > 0 {
			fmt.Fprintf(&b, ", %d damaged", w.damaged)
		}
		b.WriteByte('\n')
	}
	state := "all in order"
	if !r.ok() {
		state = "NOT in order"
	}
	fmt.Fprintf(&b, "%d writers, %d numbered lines, %d other lines: %s\n", len(ids), lines, r.plain, state)
	return b.String()
}

// maxShown bounds the numbers shown per writer and kind.
const maxShown = 10

func ranges(gaps [][2]uint64) string {
	var parts []string
	for _, g := range gaps[:min(len(gaps), maxShown)] {
		if g[0] == g[1] {
			parts = append(parts, strconv.FormatUint(g[0], 10))
		} else {
			parts = append(parts, fmt.Sprintf("%d..%d", g[0], g[1]))
		}
	}
	if len(gaps) > maxShown {
		parts = append(parts, fmt.Sprintf("and %d more gaps", len(gaps)-maxShown))
	}
	return strings.Join(parts, ", ")
}
