package stage

import (
	"context"
	"io"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

const (
	// checkWork is the work after which to look whether a query has been given
	// up. A unit of it is about what it costs to look at a byte once: 1 MiB of
	// text goes through most stages in some milliseconds, through a regular
	// expression in a tenth of a second.
	checkWork = 1 << 20
	// rowWork is the work of a row beside that of its bytes: a short line may
	// cost much, too, a template a millisecond for each.
	rowWork = checkWork / 128
	// pairWork is the work of a label where stages look at all of them.
	pairWork = 64
)

// watch looks at a context each time that checkWork has been done. The zero
// value goes on for ever.
type watch struct {
	ctx  context.Context // nil: there is nothing to look at
	left int             // work until the next look
	err  error           // that of ctx, once it has ended
}

// spend counts work that is about to be done. It returns false when the context
// has ended: whoever calls it leaves things as they are then, since nothing of
// the row is used.
func (w *watch) spend(work int) bool {
	if w.left -= work; w.left > 0 {
		return true
	}
	return w.look()
}

func (w *watch) look() bool {
	if w.ctx != nil && w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		w.left = 0 // so that every call comes here
		return false
	}
	w.left = checkWork
	return true
}

// maxSteps are the steps of a regular expression over one text that are taken
// without a look at the context: about a second where each instruction is alive
// at each character, which is rare.
const maxSteps = 1 << 26

// watchedRegexp is a regular expression that stops when a watch says so, even in
// the middle of one text: 256 KiB and an expression of a million instructions,
// which a few characters with {1000} make, would take hours.
type watchedRegexp struct {
	re    *regexp.Regexp
	insts int // of the program
	// short is the length of the longest text that is done within maxSteps.
	short int
}

// compileRegexp is regexp.Compile.
func compileRegexp(expr string) (*watchedRegexp, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	return &watchedRegexp{re, len(prog.Inst), maxSteps / len(prog.Inst)}, nil
}

// long says whether text is to be read rune by rune. That is slower, and no
// prefix of the expression is looked for.
func (r *watchedRegexp) long(text string) bool { return len(text) > r.short }

func (r *watchedRegexp) match(text string, w *watch) bool {
	if !r.long(text) {
		return r.re.MatchString(text)
	}
	return r.re.MatchReader(&watchedReader{text, r.insts, w})
}

// find is regexp.Regexp.FindStringSubmatchIndex.
func (r *watchedRegexp) find(text string, w *watch) []int {
	if !r.long(text) {
		return r.re.FindStringSubmatchIndex(text)
	}
	return r.re.FindReaderSubmatchIndex(&watchedReader{text, r.insts, w})
}

// watchedReader is a text that ends when its watch says so.
type watchedReader struct {
	text string
	work int // of a rune
	w    *watch
}

var _ io.RuneReader = (*watchedReader)(nil)

func (r *watchedReader) ReadRune() (rune, int, error) {
	if r.text == "" || !r.w.spend(r.work) {
		return 0, 0, io.EOF
	}
	c, n := utf8.DecodeRuneInString(r.text)
	r.text = r.text[n:]
	return c, n, nil
}
