package lokiapi

import (
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// JSON decodes a push body in Loki's JSON form, or in the older one of
// /api/prom/push: the keys of a stream tell which. The body is changed in
// place and the result aliases it; the caller leaves it alone until it has
// released the push.
func (d *Decoder) JSON(body []byte) (*Push, error) {
	p := d.start()
	j := jsonPush{p: p, r: jsonReader{b: body}}
	err := j.decode()
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}

type jsonPush struct {
	p   *Push
	r   jsonReader
	err error // of a limit; j.r.err is one of syntax
}

// stop ends the reading with err.
func (j *jsonPush) stop(err error) {
	if j.err == nil && err != nil {
		j.err = err
		j.r.fail("stopped")
	}
}

func (j *jsonPush) decode() error {
	r := &j.r
	r.object(func(key string) {
		if key != "streams" {
			r.skip()
			return
		}
		r.array(j.stream)
	})
	if j.err != nil {
		return j.err
	}
	return r.err // what follows is ignored, as in Loki
}

// stream reads one element of "streams". Values that come before the labels
// are read in a second pass.
func (j *jsonPush) stream() {
	j.stop(j.p.countStream())
	r := &j.r
	var info *streamInfo
	values, legacy := -1, false
	r.object(func(key string) {
		switch {
		case key == "stream" && info == nil:
			info = j.labels()
		case key == "labels" && info == nil:
			var err error
			info, err = j.p.d.protoStreamInfo([]byte(r.str()))
			j.stop(err)
		case (key == "values" || key == "entries") && info == nil:
			r.peek()
			values, legacy = r.i, key == "entries"
			r.skip()
		case key == "values":
			j.values(info)
		case key == "entries":
			j.entries(info)
		default:
			r.skip()
		}
	})
	if r.err != nil || values < 0 {
		return
	}
	if info == nil {
		info = j.p.d.newStream(labels.EmptyLabels())
	}
	after := r.i
	r.i = values
	if legacy {
		j.entries(info)
	} else {
		j.values(info)
	}
	r.i = max(r.i, after)
}

// labels reads the object "stream".
func (j *jsonPush) labels() *streamInfo {
	r := &j.r
	raw := r.skip()
	if r.err != nil {
		return nil
	}
	cache := j.p.d.jsonLabels
	if info := cache.get(raw); info != nil {
		return info
	}
	key := string(raw)
	sub := jsonReader{b: []byte(key)}
	var pairs []labels.Label
	sub.object(func(name string) {
		if sub.peek() == '"' {
			pairs = append(pairs, labels.Label{Name: name, Value: sub.str()})
		} else { // as Loki has it: 1 is "1", true is "true"
			pairs = append(pairs, labels.Label{Name: name, Value: string(sub.skip())})
		}
	})
	if sub.err == nil {
		sub.end()
	}
	fail := func(msg string) error { return &LabelsError{Text: key, Msg: msg} }
	if sub.err != nil {
		j.stop(fail(sub.err.Error()))
		return nil
	}
	for _, l := range pairs {
		if !isLabelName(l.Name) {
			j.stop(fail("label name " + quoteShort(l.Name) + " is not legal"))
			return nil
		}
	}
	pairs, err := sortPairs(pairs, key)
	if err != nil {
		info, err := badStream(err)
		j.stop(err)
		return info
	}
	info := j.p.d.newStream(labels.New(pairs...))
	cache.put(key, info)
	return info
}

// values reads [["<ns>","<line>",{metadata}],…]. A line that is not there is an
// empty one, and further elements are ignored, as in Loki.
func (j *jsonPush) values(info *streamInfo) {
	j.p.open(info)
	r := &j.r
	r.array(func() {
		var ts int64
		var line string
		if r.null() {
			return
		}
		j.p.meta.reset()
		n := 0
		r.array(func() {
			switch n++; n {
			case 1:
				ts = j.timestamp()
			case 2:
				line = r.str()
			case 3:
				j.metadata()
			default:
				r.skip()
			}
		})
		if n == 0 {
			r.fail("an entry needs a timestamp")
		}
		j.entry(info, ts, line)
	})
}

// metadata reads an object of strings.
func (j *jsonPush) metadata() {
	j.r.object(func(name string) { j.p.meta.add(&j.p.d.limits, name, j.r.str()) })
}

// timestamp reads nanoseconds, a string of digits.
func (j *jsonPush) timestamp() int64 {
	if j.r.peek() != '"' {
		j.r.fail("a timestamp must be a string of nanoseconds since the epoch")
		return 0
	}
	text := j.r.str()
	ts, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		j.r.fail("timestamp %s is not a number of nanoseconds since the epoch", quoteShort(text))
	}
	return ts
}

// entries reads the older form [{"ts":"<RFC 3339>","line":"…"},…].
func (j *jsonPush) entries(info *streamInfo) {
	j.p.open(info)
	r := &j.r
	r.array(func() {
		var ts int64
		var line string
		j.p.meta.reset()
		r.object(func(key string) {
			switch key {
			case "ts", "timestamp":
				text := r.str()
				t, err := time.Parse(time.RFC3339Nano, text)
				if err != nil && r.err == nil {
					r.fail("timestamp %s is not in RFC 3339 form", quoteShort(text))
				}
				ts = t.UnixNano()
			case "line":
				line = r.str()
			case "structuredMetadata":
				j.metadata()
			default:
				r.skip()
			}
		})
		j.entry(info, ts, line)
	})
}

func (j *jsonPush) entry(info *streamInfo, ts int64, line string) {
	if j.r.err == nil {
		j.stop(j.p.add(info, ts, line, ""))
	}
}
