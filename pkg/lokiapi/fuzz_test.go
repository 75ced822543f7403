package lokiapi

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzParseLimits(f *testing.F) {
	f.Add([]byte("max_line_size: 1MB\nreject_old_samples_max_age: 1d\ndiscover_service_name: [a]"))
	f.Add([]byte("otlp_config: {log_attributes: [{action: drop, regex: x.*}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := DefaultLimits()
		if err := ParseLimits(text, &l); err != nil {
			return
		}
		if l.MaxLine <= 0 || l.MaxLabelNames <= 0 || l.MaxMetadataPairs <= 0 {
			t.Fatalf("limits %+v", l)
		}
		NewDecoder(l, nil) // whatever was accepted can be used
	})
}

// naiveJSONLevel is the rule for JSON lines by way of encoding/json.
func naiveJSONLevel(line string) string {
	dec := json.NewDecoder(strings.NewReader(line))
	fields := map[string]bool{}
	for _, name := range DefaultLevelFields() {
		fields[name] = true
	}
	type frame struct {
		object, key bool // whether a key comes next
	}
	var stack []frame
	name := ""
	for {
		tok, err := dec.Token()
		if err != nil {
			return ""
		}
		var top *frame
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if d, ok := tok.(json.Delim); ok {
			switch d {
			case '{', '[':
				if top != nil && top.object {
					top.key = true
				}
				stack = append(stack, frame{object: d == '{', key: true})
			default:
				stack = stack[:len(stack)-1]
			}
			continue
		}
		switch {
		case top == nil:
			return ""
		case top.object && top.key:
			name, top.key = tok.(string), false
		case top.object:
			top.key = true
			if s, ok := tok.(string); ok && fields[name] && len(stack) <= maxLevelDepth {
				return s
			}
		}
	}
}

// FuzzDetectLevel compares with the naive rules where they apply.
func FuzzDetectLevel(f *testing.F) {
	for _, s := range []string{
		`{"level":"info"}`, `level="warn"`, `I1122 x`, `{"a\"`, `a=\`, `="\`, `{[[{"x":`, `{"a":{"lvl":"trc"},"x":["level","info"]}`,
		`a=b=c level=error lvl=info`, "\tERR: x \n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := DetectLevel(s)
		if again := DetectLevel(" \t" + s + "\r\n"); again != got {
			t.Errorf("blanks around change %s to %s", got, again)
		}
		line := strings.Trim(s, " \t\n\v\f\r")
		if !strings.HasPrefix(line, "{") || !json.Valid([]byte(line)) || strings.Contains(line, `\`) {
			return
		}
		want := ParseLevel(naiveJSONLevel(line))
		if want == LevelUnknown {
			want = wordLevel(line)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", line, got, want)
		}
	})
}
