package nodefiles

// Line is one logical line. Text is valid until the next call of the joiner or
// of the reader that the record came from.
type Line struct {
	Time   int64 // of the first record
	Stream Stream
	Text   []byte
	// Full is the length of the whole line if Text is only its beginning, else 0.
	Full int
	// File and Off are where the line's first record begins.
	File uint64
	Off  int64
}

// Joiner makes lines of records. Per stream it holds the beginning of at most
// one line. The zero value with Max set is ready; it is for one goroutine.
type Joiner struct {
	// Max is the length at which lines are cut.
	Max int
	// Shared joins records as the kubelet does for pods/log: one line is begun
	// at a time, and the next record goes on with it whatever its stream is.
	Shared bool
	// File is the fingerprint of the file that the records come from.
	File uint64

	parts [2]part
}

// part is the beginning of a line.
type part struct {
	open bool
	line Line
	full int
}

func (j *Joiner) part(s Stream) *part {
	if j.Shared {
		return &j.parts[0]
	}
	return &j.parts[s]
}

// Add takes the next record; true means that it ended the line.
func (j *Joiner) Add(rec *Record, line *Line) bool {
	p := j.part(rec.Stream)
	if !p.open && !rec.Partial {
		*line = Line{Time: rec.Time, Stream: rec.Stream, Text: rec.Text, Full: rec.Full, File: j.File, Off: rec.Off}
		return true
	}
	if !p.open {
		p.open, p.full = true, 0
		p.line = Line{Time: rec.Time, Stream: rec.Stream, Text: p.line.Text[:0], File: j.File, Off: rec.Off}
	}
	p.full += max(len(rec.Text), rec.Full)
	p.line.Text = append(p.line.Text, rec.Text[:min(len(rec.Text), j.Max-len(p.line.Text))]...)
	if rec.Partial {
		return false
	}
	j.end(p, line)
	return true
}

func (j *Joiner) end(p *part, line *Line) {
	*line = p.line
	if p.full > len(line.Text) {
		line.Full = p.full
	}
	p.open = false
	const keep = 64 << 10
	if cap(p.line.Text) > keep {
		p.line.Text = nil
	}
}

// Idle says that no line has been begun.
func (j *Joiner) Idle() bool { return !j.parts[0].open && !j.parts[1].open }

// Oldest is the first record of the line that was begun first, as far as that
// is known: of two lines begun in one file, the one further to the front.
func (j *Joiner) Oldest() (file uint64, off int64, ok bool) {
	for i := range j.parts {
		p := &j.parts[i]
		if !p.open {
			continue
		}
		older := p.line.File == file && p.line.Off < off || p.line.File != file && file == j.File
		if !ok || older {
			file, off, ok = p.line.File, p.line.Off, true
		}
	}
	return file, off, ok
}

// Flush ends a line that was begun and will not go on, the older one first;
// false means that there is none.
func (j *Joiner) Flush(line *Line) bool {
	file, off, ok := j.Oldest()
	if !ok {
		return false
	}
	for i := range j.parts {
		if p := &j.parts[i]; p.open && p.line.File == file && p.line.Off == off {
			j.end(p, line)
			return true
		}
	}
	return false
}

// Reset forgets what was begun.
func (j *Joiner) Reset() { j.parts[0].open, j.parts[1].open = false, false }
