package stage

import (
	"fmt"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// labelFormatStage is "| label_format dst=src, other="{{.template}}"".
type labelFormatStage struct {
	items []labelFormatItem
	// vars are the labels as they were before the first template, taken only
	// where a later template could see the difference.
	vars     map[string]string
	snapshot bool
}

type labelFormatItem struct {
	dst, src string
	t        *lineTemplate
}

// NewLabelFormat returns the label_format stage. now is the clock of {{now}}.
func NewLabelFormat(as []logql.LabelAssignment, now func() time.Time) (Stage, error) {
	st := &labelFormatStage{vars: map[string]string{}}
	var touched []string // since the first template
	templates := 0
	for _, a := range as {
		it := labelFormatItem{dst: a.Dst, src: a.Src}
		if a.Dst == ErrorLabel {
			return nil, fmt.Errorf("label_format: %s cannot be set", ErrorLabel)
		}
		if a.Src == "" {
			t, err := newTemplate("label_format", a.Template, now)
			if err != nil {
				return nil, err
			}
			it.t = t
			for _, name := range touched {
				st.snapshot = st.snapshot || t.reads(name)
			}
			templates++
		}
		if templates > 0 {
			touched = append(touched, a.Dst, a.Src)
		}
		st.items = append(st.items, it)
	}
	return st, nil
}

// Templates of one stage do not see each other: all read the labels as they
// were at the first of them. A rename before that shows.
func (st *labelFormatStage) Process(ts int64, line string, b *Builder) (string, bool) {
	taken := false
	for i := range st.items {
		it := &st.items[i]
		if !b.watch.spend(len(line)) {
			break
		}
		if it.t == nil {
			b.Rename(it.src, it.dst)
			continue
		}
		var (
			v   string
			err error
		)
		if st.snapshot {
			if !taken {
				b.snapshot(st.vars)
				taken = true
			}
			v, err = it.t.execute(ts, line, b, st.vars)
		} else {
			v, err = it.t.run(ts, line, b)
		}
		if err != nil {
			b.SetErr(ErrTemplateFormat, err.Error())
			continue
		}
		b.Set(it.dst, v)
	}
	return line, true
}

// Rename moves a label; the result counts as parsed. One that is not there is
// left alone.
func (b *Builder) Rename(src, dst string) {
	if src == dst {
		return
	}
	if v, ok := b.Get(src); ok {
		b.Del(src)
		b.Set(dst, v)
	}
}
