package stage

import "time"

// lineFormatStage is "| line_format "{{.status}} {{.msg}}"". When the template
// fails the line stays as it was and the entry is marked.
type lineFormatStage struct{ t *lineTemplate }

// NewLineFormat returns the line_format stage. now is the clock of {{now}}.
func NewLineFormat(text string, now func() time.Time) (Stage, error) {
	t, err := newTemplate("line_format", text, now)
	if err != nil {
		return nil, err
	}
	return lineFormatStage{t}, nil
}

func (st lineFormatStage) Process(ts int64, line string, b *Builder) (string, bool) {
	out, err := st.t.run(ts, line, b)
	if err != nil {
		b.SetErr(ErrTemplateFormat, err.Error())
		return line, true
	}
	return out, true
}
