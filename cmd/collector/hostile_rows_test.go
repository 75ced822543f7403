package main

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	hostilePush = "/loki/api/v1/push"
	hostileOTLP = "/otlp/v1/logs"
	typeJSON    = "application/json"
	typeProto   = "application/x-protobuf"
)

func hostileRows() []hostile {
	var rows []hostile
	for _, table := range [][]hostile{
		hostileBodies(), hostileJSON(), hostileLabels(), hostileEntries(), hostileExports(),
		hostileQueries(), hostileParameters(), hostileStages(), hostileTails(), hostileHTTP(),
	} {
		rows = append(rows, table...)
	}
	return rows
}

func text(s string) func() []byte { return func() []byte { return []byte(s) } }

func repeat(s string, n int) func() []byte {
	return func() []byte { return bytes.Repeat([]byte(s), n) }
}

// zeros compresses n zeros, once.
func zeros(encoding string, n int) func() []byte {
	return sync.OnceValue(func() []byte {
		var b bytes.Buffer
		var w io.WriteCloser
		switch encoding {
		case "gzip":
			w = gzip.NewWriter(&b)
		case "deflate":
			w, _ = flate.NewWriter(&b, flate.BestSpeed)
		case "zstd":
			w, _ = zstd.NewWriter(&b)
		case "lz4":
			w = lz4.NewWriter(&b)
		}
		piece := make([]byte, 1<<20)
		for range n >> 20 {
			_, _ = w.Write(piece) // to memory
		}
		_ = w.Close()
		return b.Bytes()
	})
}

// stream is a protobuf push of one entry.
func stream(ls labels.Labels, e model.Entry) func() []byte {
	return func() []byte {
		return lokiapi.EncodePush([]model.StreamEntries{{Labels: ls, Entries: []model.Entry{e}}})
	}
}

func now() int64 { return time.Now().UnixNano() }

// jsonPush is a JSON push of one stream.
func jsonPush(labels, values string) func() []byte {
	return text(`{"streams":[{"stream":` + labels + `,"values":` + values + `}]}`)
}

// labelText is a protobuf push of a stream with this text for labels.
func labelText(s string) func() []byte {
	return func() []byte {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
		entry := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "x")
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), entry)
		return snappy.Encode(nil, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b))
	}
}

// block is data as a snappy block.
func block(data func() []byte) func() []byte {
	return func() []byte { return snappy.Encode(nil, data()) }
}

func pushed(name, contentType, encoding string, body func() []byte, code int, text string) hostile {
	h := hostile{name: "push: " + name, path: hostilePush, body: body, code: code, text: text}
	if contentType != "" {
		h.header = append(h.header, "Content-Type", contentType)
	}
	if encoding != "" {
		h.header = append(h.header, "Content-Encoding", encoding)
	}
	return h
}

func hostileBodies() []hostile {
	return []hostile{
		pushed("no protobuf in snappy", typeProto, "", block(text("hello, this is no protobuf")), 400, "invalid protobuf"),
		pushed("cut protobuf", typeProto, "", block(func() []byte {
			b := lokiapi.AppendPushRequest(nil, []model.StreamEntries{{Labels: labels.FromStrings("a", "b"), Entries: []model.Entry{{Line: "x"}}}})
			return b[:len(b)-2]
		}), 400, "invalid protobuf"),
		pushed("protobuf groups without end", typeProto, "", block(repeat("\x0b", 1<<20)), 400, "invalid protobuf"),
		pushed("protobuf of the wrong type", typeProto, "", block(text("\x08\x01")), 400, "wrong wire type"),
		pushed("protobuf of a field number too large", typeProto, "", block(text("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), 400, "invalid protobuf"),
		pushed("protobuf length beyond the body", typeProto, "", block(text("\x0a\xff\xff\xff\xff\x0f")), 400, "invalid protobuf"),
		pushed("not compressed", typeProto, "", func() []byte {
			return lokiapi.AppendPushRequest(nil, []model.StreamEntries{{Labels: labels.FromStrings("a", "b"), Entries: []model.Entry{{Line: "x"}}}})
		}, 400, "not a snappy block"),
		pushed("snappy that says 16 MiB", typeProto, "", text("\xff\xff\xff\x07\x00\x00"), 413, "too many bytes"),
		pushed("snappy that says 4 GiB", typeProto, "", text("\xff\xff\xff\xff\x0f\x00\x00"), 413, "too many bytes"),
		pushed("snappy that says more", typeProto, "", text("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 400, "not a snappy block"),
		pushed("snappy of 50 MB", typeProto, "", block(repeat("\x00", 50<<20)), 413, "too many bytes"),
		pushed("snappy that refers to before its start", typeProto, "", text("\x08\x01\xff\xff"), 400, "not a snappy block"),
		pushed("framed snappy", typeProto, "", text("\xff\x06\x00\x00sNaPpY"), 413, "too many bytes"),
		pushed("gzip bomb of JSON", typeJSON, "gzip", zeros("gzip", 256<<20), 413, "too many bytes"),
		pushed("gzip bomb around snappy", typeProto, "gzip", zeros("gzip", 256<<20), 413, "too many bytes"),
		pushed("snappy bomb in gzip", typeProto, "gzip", func() []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write(block(repeat("\x00", 100<<20))())
			_ = w.Close()
			return b.Bytes()
		}, 413, "too many bytes"),
		pushed("deflate bomb", typeJSON, "deflate", zeros("deflate", 256<<20), 413, "too many bytes"),
		pushed("many members of gzip", typeJSON, "gzip", func() []byte { return bytes.Repeat(zeros("gzip", 1<<20)(), 64) }, 413, "too many bytes"),
		pushed("gzip without a body", typeJSON, "gzip", text("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), 400, "the gzip body is broken"),
		pushed("no gzip", typeJSON, "gzip", text("{}"), 400, "not gzip"),
		pushed("an unknown encoding", typeJSON, "br", text("{}"), 400, `Content-Encoding "br" not supported`),
		pushed("two encodings", typeJSON, "gzip, gzip", text("{}"), 400, "not supported"),
		pushed("an encoding of 100 kB", typeJSON, strings.Repeat("x", 100<<10), text("{}"), 400, "not supported"),
		pushed("no type", "", "", text("{}"), 400, "mime: no media type"),
		pushed("a type that is none", "/;", "", text("{}"), 400, "bad Content-Type"),
		pushed("a type of 100 kB", strings.Repeat("x/", 50<<10), "", text("{}"), 400, "bad Content-Type"),
		pushed("a type with parameters that are none", "application/json; =", "", text("{}"), 400, "bad Content-Type"),
		pushed("nothing", typeProto, "", text(""), 400, "not a snappy block"),
		pushed("no streams", typeProto, "", block(text("")), 422, "at least one valid stream"),
		pushed("50 MB", typeJSON, "", repeat("x", 50<<20), 413, "is larger than"),
		pushed("65537 streams", typeProto, "", block(repeat("\x0a\x06\x0a\x04{a}=", 1<<16+1)), 400, "couldn't parse labels"),
		pushed("streams without labels", typeProto, "", block(repeat("\x0a\x04\x0a\x02{}", 1<<16+1)), 413, "too many streams"),
		pushed("half a million entries", typeProto, "", block(func() []byte {
			b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), `{a="b"}`)
			seconds := protowire.AppendVarint([]byte{0x08}, uint64(time.Now().Unix()))
			entry := protowire.AppendBytes([]byte{0x0a}, seconds)
			b = append(b, bytes.Repeat(protowire.AppendBytes([]byte{0x12}, entry), 1<<19+1)...)
			return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
		}), 413, "too many entries"),
	}
}

func hostileJSON() []hostile {
	j := func(name, body, want string) hostile {
		return pushed("JSON: "+name, typeJSON, "", text(body), 400, want)
	}
	good := strconv.FormatInt(now(), 10)
	return []hostile{
		j("nothing", "", "invalid JSON at byte 0"),
		j("a NUL", "\x00", "invalid JSON"),
		j("NULs", strings.Repeat("\x00", 1<<20), "invalid JSON"),
		j("a byte order mark of UTF-16", "\xff\xfe{\x00}\x00", "invalid JSON"),
		j("deep arrays", strings.Repeat("[", 1<<20), "invalid JSON"),
		j("deep arrays in an unknown key", `{"x":`+strings.Repeat("[", 1<<20), "nested deeper"),
		j("deep objects in an unknown key", `{"x":`+strings.Repeat(`{"a":`, 1<<18), "nested deeper"),
		j("deep labels", `{"streams":[{"stream":`+strings.Repeat(`{"a":`, 1<<18), "nested deeper"),
		j("a string without end", `{"streams":[{"stream":{"a":"`+strings.Repeat("x", 1<<20), "not terminated"),
		j("an escape without end", `{"streams":[{"stream":{"a":"b"},"values":[["`+good+`","\`, "not terminated"),
		j("half a surrogate's escape", `{"streams":[{"stream":{"a":"b"},"values":[["`+good+`","\ud8"]]}]}`, "bad escape"),
		j("a NUL in a line", `{"streams":[{"stream":{"a":"b"},"values":[["`+good+"\",\"\x00\"]]}]}", "control character"),
		j("a number for a time", `{"streams":[{"stream":{"a":"b"},"values":[[1,"x"]]}]}`, "a timestamp must be a string"),
		j("a time that is none", `{"streams":[{"stream":{"a":"b"},"values":[["now","x"]]}]}`, "is not a number of nanoseconds"),
		j("a time of a megabyte", `{"streams":[{"stream":{"a":"b"},"values":[["`+strings.Repeat("9", 1<<20)+`","x"]]}]}`, "is not a number of nanoseconds"),
		j("a line that is an object", `{"streams":[{"stream":{"a":"b"},"values":[["`+good+`",{}]]}]}`, "expected a string"),
		j("metadata that is no object", `{"streams":[{"stream":{"a":"b"},"values":[["`+good+`","x",1]]}]}`, "expected '{'"),
		j("metadata of numbers", `{"streams":[{"stream":{"a":"b"},"values":[["`+good+`","x",{"a":1}]]}]}`, "expected a string"),
		j("an entry of nothing", `{"streams":[{"stream":{"a":"b"},"values":[[]]}]}`, "an entry needs a timestamp"),
		j("labels that are an array", `{"streams":[{"stream":["a"],"values":[["`+good+`","x"]]}]}`, "couldn't parse labels"),
		j("labels without a value", `{"streams":[{"stream":{"a":},"values":[["`+good+`","x"]]}]}`, "expected a value"),
		j("an old time that is none", `{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"`+good+`","line":"x"}]}]}`, "not in RFC 3339"),
		{name: "push: JSON: no streams", path: hostilePush, header: []string{"Content-Type", typeJSON}, body: text(`{"streams":null}`), code: 422, text: "at least one valid stream"},
		{name: "push: the old path", path: "/api/prom/push", header: []string{"Content-Type", typeJSON}, body: text(`{"streams":[{"labels":"{`), code: 400, text: "string is not terminated"},
	}
}

func hostileLabels() []hostile {
	many := labels.NewBuilder(labels.EmptyLabels())
	for i := range 10000 {
		many.Set(fmt.Sprintf("l%05d", i), "v")
	}
	e := model.Entry{Timestamp: now(), Line: "x"}
	p := func(name string, body func() []byte, want string) hostile {
		return pushed("labels: "+name, typeProto, "", body, 400, want)
	}
	return []hostile{
		p("ten thousand", stream(many.Labels(), e), "has 10000 label names"),
		p("a name of a megabyte", stream(labels.FromStrings(strings.Repeat("n", 1<<20), "v"), e), "label name"),
		p("a value of a megabyte", stream(labels.FromStrings("a", strings.Repeat("v", 1<<20)), e), "value of label"),
		p("a name twice", labelText(`{a="1",a="2"}`), "duplicate label name"),
		p("braces", labelText(strings.Repeat("{", 1<<20)), "couldn't parse labels"),
		p("no brace", labelText(`a="b"`), "couldn't parse labels"),
		p("a quoted name with a dash", labelText(`{"a-b"="c"}`), "is not legal"),
		p("another matcher", labelText(`{a=~"b"}`), "couldn't parse labels"),
		p("a value without end", labelText(`{a="`+strings.Repeat("x", 1<<20)), "couldn't parse labels"),
		p("a bad escape", labelText(`{a="\xzz"}`), "couldn't parse labels"),
		p("a NUL in a name", labelText("{a\x00=\"b\"}"), "couldn't parse labels"),
		p("a name that is not UTF-8", labelText("{\xff=\"b\"}"), "couldn't parse labels"),
		p("a name with a dash", labelText(`{a-b="c"}`), "couldn't parse labels"),
		p("text behind them", labelText(`{a="b"} |= "c"`), "couldn't parse labels"),
		pushed("labels: JSON with a NUL in a name", typeJSON, "", jsonPush(`{"a\u0000":"b"}`, `[]`), 400, "is not legal"),
		pushed("labels: JSON with an empty name", typeJSON, "", jsonPush(`{"":"b"}`, `[]`), 400, "is not legal"),
	}
}

func hostileEntries() []hostile {
	ab := labels.FromStrings("a", "b")
	many := labels.NewBuilder(labels.EmptyLabels())
	for i := range 9000 {
		many.Set(fmt.Sprintf("l%04d", i), "v")
	}
	p := func(name string, e model.Entry, want string) hostile {
		return pushed("entry: "+name, typeProto, "", stream(ab, e), 400, want)
	}
	return []hostile{
		p("a line of 5 MB", model.Entry{Timestamp: now(), Line: strings.Repeat("x", 5<<20)}, "max entry size"),
		p("a line of 5 MB that is not UTF-8", model.Entry{Timestamp: now(), Line: strings.Repeat("\xff", 5<<20)}, "max entry size"),
		p("a line of a million quotes", model.Entry{Timestamp: now(), Line: "{" + strings.Repeat(`"`, 1<<20) + "}"}, "max entry size"),
		p("nine thousand pairs of metadata", model.Entry{Timestamp: now(), Line: "x", Metadata: many.Labels()}, "9000 structured metadata pairs"),
		p("metadata of a megabyte", model.Entry{Timestamp: now(), Line: "x", Metadata: labels.FromStrings("a", strings.Repeat("x", 1<<20))}, "structured metadata of 1048577 bytes"),
		p("the end of time", model.Entry{Timestamp: 1<<63 - 1, Line: "x"}, "timestamp too new"),
		p("tomorrow", model.Entry{Timestamp: now() + int64(24*time.Hour), Line: "x"}, "timestamp too new"),
		p("the beginning of time", model.Entry{Timestamp: -1 << 63, Line: "x"}, "timestamp too old"),
		p("before retention", model.Entry{Timestamp: now() - int64(30*24*time.Hour), Line: "x"}, "timestamp too old"),
	}
}

func hostileExports() []hostile {
	o := func(name, contentType, encoding string, body func() []byte, code int, want string) hostile {
		h := pushed(name, contentType, encoding, body, code, want)
		h.name, h.path = "OTLP: "+name, hostileOTLP
		return h
	}
	field := func(num protowire.Number, parts ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(parts, nil))
	}
	record := func(parts ...[]byte) func() []byte {
		return func() []byte { return field(1, field(2, field(2, parts...))) }
	}
	deep := func(n int) []byte { // arrays in arrays, from the inside
		var v []byte
		for range n {
			v = field(5, field(1, v))
		}
		return v
	}
	wide := func(n int) []byte {
		var b []byte
		for i := range n {
			b = append(b, field(6, field(1, []byte("k"+strconv.Itoa(i))), field(2, field(1, []byte("v"))))...)
		}
		return b
	}
	at := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), uint64(now()))
	return []hostile{
		o("no type", "", "", text(""), 400, "is not supported"),
		o("a type of text", "text/plain", "", text("x"), 400, "is not supported"),
		o("an unknown encoding", typeProto, "br", text("x"), 400, "not supported"),
		o("nothing", typeProto, "", text(""), 422, "at least one valid stream"),
		o("no protobuf", typeProto, "", text("hello, this is no protobuf"), 400, "invalid protobuf"),
		o("random bytes", typeProto, "", repeat("\xde\xad\xbe\xef", 1<<18), 400, "invalid protobuf"),
		o("gzip bomb", typeProto, "gzip", zeros("gzip", 256<<20), 413, "too many bytes"),
		o("zstd bomb", typeProto, "zstd", zeros("zstd", 256<<20), 413, "too many bytes"),
		o("lz4 bomb", typeProto, "lz4", zeros("lz4", 256<<20), 413, "too many bytes"),
		o("gzip bomb of JSON", typeJSON, "gzip", zeros("gzip", 256<<20), 413, "too many bytes"),
		o("a window of zstd of 2 GiB", typeProto, "zstd", text("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), 413, "too many bytes"),
		o("zstd that says 1 TB", typeProto, "zstd", text("\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00"), 413, "too many bytes"),
		o("50 MB", typeProto, "", repeat("x", 50<<20), 413, "is larger than"),
		o("a line of 5 MB", typeProto, "", record(at, field(5, field(1, bytes.Repeat([]byte("x"), 5<<20)))), 400, "max entry size"),
		o("deep arrays", typeProto, "", record(at, field(5, deep(10000))), 400, "nested deeper"),
		o("deep attributes", typeProto, "", record(at, field(6, field(1, []byte("k")), field(2, deep(1000)))), 400, "nested deeper"),
		o("ten thousand attributes", typeProto, "", record(at, wide(10000)), 400, "structured metadata"),
		o("an attribute of a megabyte", typeProto, "", record(at, field(6, field(1, []byte("k")), field(2, field(1, bytes.Repeat([]byte("x"), 1<<20))))), 400, "structured metadata"),
		o("a trace id of three bytes", typeProto, "", record(at, field(9, []byte("abc"))), 400, "an id has 3 bytes"),
		o("the end of time", typeProto, "", record(protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), 1<<63)), 400, "timestamp too new"),
		o("deep JSON", typeJSON, "", repeat(`{"a":`, 1<<18), 400, "nested deeper"),
		o("JSON of a million objects", typeJSON, "", func() []byte {
			return []byte(`{"resourceLogs":[` + strings.Repeat("{},", 1<<20) + `{}]}`)
		}, 413, "too many bytes once it is decoded"),
		o("JSON with an id that is not hexadecimal", typeJSON, "", text(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xyz"}]}]}]}`), 400, "invalid JSON"),
		o("JSON of another shape", typeJSON, "", text(`{"resourceLogs":{"a":[]}}`), 400, "invalid JSON"),
		o("NULs as JSON", typeJSON, "", repeat("\x00", 1<<20), 400, "invalid JSON"),
		{name: "OTLP: GET", path: hostileOTLP, code: 405, text: "Method Not Allowed"},
		{name: "OTLP: metrics", path: "/otlp/v1/metrics", body: text("x"), code: 404, text: "404 page not found"},
	}
}

// asked is a query in the URL.
func asked(name, query, params string, code int, want string) hostile {
	return hostile{name: "query: " + name, path: "/loki/api/v1/query_range?query=" + url.QueryEscape(query) + params, code: code, text: want}
}

// posted is a query in a form.
func posted(name string, query func() string, code int, want string) hostile {
	return hostile{
		name: "query: " + name, path: "/loki/api/v1/query_range", code: code, text: want,
		header: []string{"Content-Type", "application/x-www-form-urlencoded"},
		body:   func() []byte { return []byte("query=" + url.QueryEscape(query())) },
	}
}

func hostileQueries() []hostile {
	times := func(s string, n int) func() string { return func() string { return strings.Repeat(s, n) } }
	around := func(left, s, right string, n int) func() string {
		return func() string { return strings.Repeat(left, n) + s + strings.Repeat(right, n) }
	}
	return []hostile{
		asked("none", "", "", 400, "parse error"),
		asked("blanks", "   ", "", 400, "parse error"),
		asked("a NUL", "{a=\"b\x00\"}\x00", "", 400, "parse error"),
		asked("not UTF-8", "{a=\"\xff\"} |= \xff", "", 400, "parse error"),
		asked("a selector that selects everything", "{}", "", 400, "at least one"),
		asked("a broken expression", `{a=~"("}`, "", 400, "missing closing"),
		asked("an expression of repeats", `{a="b"} |~ "(x{1000}){1000}"`, "", 400, "invalid repeat count"),
		asked("a repeat that is too large", `{a="b"} |~ "x{1001}"`, "", 400, "invalid repeat count"),
		asked("a lookahead", `{a="b"} |~ "(?=x)"`, "", 400, "invalid or unsupported Perl syntax"),
		asked("a back reference", `{a="b"} |~ "(x)\\1"`, "", 400, "invalid escape sequence"),
		posted("a megabyte", times("x", 1<<20-10), 400, "input size too long"),
		posted("more than a form may be", times("x", 2<<20), 413, "the form is larger"),
		posted("ten thousand matchers", func() string {
			return "{" + strings.Repeat(`aaaaaaaaaa="b",`, 10000) + `a="b"}`
		}, 400, "input size too long"),
		posted("a hundred thousand parentheses", around("(", `rate({a="b"}[5m])`, ")", 50000), 400, "nested too deep"),
		posted("parentheses without end", times("(", 100000), 400, "nested too deep"),
		posted("deep label filters", func() string {
			return `{a="b"} | ` + strings.Repeat("(", 20000) + "x=1" + strings.Repeat(")", 20000)
		}, 400, "nested too deep"),
		posted("deep sums", around("sum(", `rate({a="b"}[5m])`, ")", 20000), 400, "nested too deep"),
		posted("many signs", func() string { return strings.Repeat("-", 100000) + "1" }, 400, ""),
		posted("ten thousand stages of nothing", func() string { return `{a="b"}` + strings.Repeat("|", 10000) }, 400, "parse error"),
		posted("a string without end", func() string { return `{a="` + strings.Repeat("b", 100000) }, 400, "parse error"),
		asked("a range of a thousand years", `rate({a="b"}[1000y])`, "", 400, ""),
		asked("a range of nothing", `rate({a="b"}[])`, "", 400, "parse error"),
		asked("a negative range", `rate({a="b"}[-5m])`, "", 400, "parse error"),
		asked("an offset without a number", `rate({a="b"}[5m] offset x)`, "", 400, "parse error"),
		asked("topk of too many", `topk(99999999999999999999, rate({a="b"}[5m]))`, "", 400, ""),
		asked("a quantile of text", `quantile_over_time("x", {a="b"} | unwrap x [5m])`, "", 400, "parse error"),
		asked("an unwrap in a log query", `{a="b"} | unwrap x`, "", 400, ""),
		asked("a capture without a name", `{a="b"} | regexp "(x)"`, "", 400, "at least one named capture"),
		asked("a pattern of nothing", `{a="b"} | pattern ""`, "", 400, ""),
		asked("an ip that is none", `{a="b"} |= ip("999.1.1.1")`, "", 400, ""),
		asked("a template that is broken", `{a="b"} | line_format "{{"`, "", 400, "template"),
		asked("a template function that is none", `{a="b"} | line_format "{{ env \"HOME\" }}"`, "", 400, "function"),
		asked("script", `<script>alert(1)</script>`, "", 400, "parse error"),
		{name: "query: a log query at an instant", path: "/loki/api/v1/query?query=" + url.QueryEscape(`{a="b"}`), code: 400, text: "log queries are not supported as an instant query type"},
		{name: "query: format of nonsense", path: "/loki/api/v1/format_query?query=%7B", code: 400, text: "parse error"},
	}
}

func hostileParameters() []hostile {
	q := func(name, params, want string) hostile { return asked(name, `{app="good"}`, params, 400, want) }
	get := func(name, path, want string) hostile { return hostile{name: name, path: path, code: 400, text: want} }
	const v1 = "/loki/api/v1"
	return []hostile{
		q("limit 0", "&limit=0", "limit must be a positive value"),
		q("limit -1", "&limit=-1", "limit must be a positive value"),
		q("limit of text", "&limit=ten", "limit"),
		q("limit beyond numbers", "&limit=99999999999999999999", "limit"),
		q("limit beyond what is allowed", "&limit=5001", "max entries limit per query exceeded"),
		q("start of text", "&start=yesterday", "start"),
		q("end of text", "&end=%00", "end"),
		q("start that is no number", "&start=NaN.", "start"),
		q("end before start", "&start=2000000000&end=1000000000", "end timestamp must not be before"),
		q("step 0", "&step=0", "zero or negative query resolution"),
		q("step -1", "&step=-1", "zero or negative query resolution"),
		q("step of text", "&step=x", "to a valid duration"),
		q("step that is infinite", "&step=Inf", "to a valid duration"),
		q("step beyond numbers", "&step=1e300", "to a valid duration"),
		q("a step too small", "&start=1600000000&end=1700000000&step=0.001", "exceeded maximum resolution of 11,000 points"),
		q("the whole of time in steps of 1 s", "&start=0&end=9223372036854775807&step=1", "exceeded maximum resolution of 11,000 points"),
		q("a direction", "&direction=sideways", "invalid direction"),
		q("an interval of text", "&interval=x", "to a valid duration"),
		q("a negative interval", "&interval=-5", "interval"),
		q("since of text", "&since=x", "since"),
		get("params: half an escape", v1+"/query_range?query=%7", "bad parameters"),
		get("params: a semicolon", v1+"/query_range?query=1;limit=5", "bad parameters"),
		get("series: a pipeline", v1+"/series?match[]="+url.QueryEscape(`{a="b"} |= "x"`), ""),
		get("series: nonsense", v1+"/series?match[]="+url.QueryEscape(`{{`), "parse error"),
		get("labels: a selector that selects everything", v1+"/labels?query="+url.QueryEscape(`{}`), ""),
		get("labels: start of text", v1+"/labels?start=x", "start"),
		get("values: nonsense", v1+"/label/app/values?query="+url.QueryEscape(`{a=`), "parse error"),
		get("stats: nonsense", v1+"/index/stats?query=x", "parse error"),
		get("volume: nonsense", v1+"/index/volume?query=x", "parse error"),
		get("volume: a limit", v1+"/index/volume?query="+url.QueryEscape(`{a="b"}`)+"&limit=-1", "limit"),
		get("volume_range: a step", v1+"/index/volume_range?query="+url.QueryEscape(`{a="b"}`)+"&step=-1", "step"),
		get("volume_range: nonsense", v1+"/index/volume_range?query=x", "parse error"),
		get("shards: nonsense", v1+"/index/shards?query=x", "parse error"),
		get("detected_labels: nonsense", v1+"/detected_labels?query=x", "parse error"),
		get("detected_fields: no query", v1+"/detected_fields", "parse error"),
		get("detected_fields: a limit", v1+"/detected_fields?query="+url.QueryEscape(`{a="b"}`)+"&line_limit=-1", "line_limit"),
		get("detected_fields: a metric", v1+"/detected_fields?query="+url.QueryEscape(`rate({a="b"}[1m])`), "only log queries"),
		get("detected_field: no query", v1+"/detected_field/x/values", "parse error"),
		get("patterns: nonsense", v1+"/patterns?query=x", "parse error"),
		get("patterns: a step", v1+"/patterns?query="+url.QueryEscape(`{a="b"}`)+"&step=-1", "zero or negative"),
		get("delete: nonsense to list", v1+"/delete?start=x", ""),
		{name: "delete: no query", path: v1 + "/delete", body: text(""), code: 400, text: "query is not set"},
		{name: "delete: nonsense", path: v1 + "/delete?query=x&start=1", body: text(""), code: 400, text: "parse error"},
		{name: "delete: a time", path: v1 + "/delete?query=" + url.QueryEscape(`{a="b"}`) + "&start=x", body: text(""), code: 400, text: "start"},
		{name: "delete: nothing to cancel", method: "DELETE", path: v1 + "/delete?request_id=nope", code: 404, text: "no such delete request"},
	}
}

// hostileStages are queries that would make much of little, over the entries of
// pushBait. Where the damage is to a line, the answer marks the line.
func hostileStages() []hostile {
	q := func(name, query string, code int, want string) hostile {
		params := ""
		if code != 200 {
			params = "&limit=5000"
		}
		return asked(name, `{app="bait"} `+query, params, code, want)
	}
	const budget = "the query needs more than"
	return []hostile{
		q("lines of a megabyte", "| line_format `{{ repeat 1000000 \"x\" }}`", 400, budget),
		q("labels of a megabyte", "| label_format a=`{{ repeat 1000000 \"x\" }}{{ __timestamp__ }}`", 400, budget),
		q("lines that double", strings.Repeat("| line_format `{{__line__}}{{__line__}}`", 60), 400, budget),
		q("labels that double", "| label_format a=`0123456789`"+strings.Repeat("| label_format a=`{{.a}}{{.a}}`", 60), 200, "TemplateFormatErr"),
		asked("series of a megabyte", "count_over_time({app=\"bait\"} | label_format a=`{{ repeat 1000000 \"x\" }}{{ __timestamp__ }}` [1h])", "", 400, budget),
		asked("series without end", `count_over_time({app="bait"} | logfmt [1h])`, "", 400, "maximum number of series"),
		asked("label_replace that doubles", strings.Repeat("label_replace(", 60)+`rate({app="bait"}[1h])`+strings.Repeat(`, "app", "$1$1", "app", "(.*)")`, 60), "", 400, "label_replace makes a label of"),
		q("a repeat of a gigabyte", "| line_format `{{ repeat 1000000000 .app }}`", 200, "TemplateFormatErr"),
		q("an indent of a gigabyte", "| line_format `{{ indent 1000000000 .app }}`", 200, "TemplateFormatErr"),
		q("replacements of replacements", "| line_format `{{ .app "+strings.Repeat("| replace \"b\" \"bbbbbbbbbb\" ", 12)+"}}`", 200, "TemplateFormatErr"),
		q("a loop without end", "| line_format `{{ range $i := 1000000000000 }}{{ end }}`", 200, "TemplateFormatErr"),
		q("a template of itself", "| line_format `{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}`", 200, "TemplateFormatErr"),
		q("an expression that backtracks elsewhere", `|~ "(a*)*(a*)*(a*)*$" | regexp "(?P<x>(a*)*(a|a|ab)*)*" | x = "never"`, 200, "success"),
	}
}

func hostileTails() []hostile {
	const tail = "/loki/api/v1/tail?query="
	good := tail + url.QueryEscape(`{app="good"}`)
	ws := func(more ...string) []string {
		return append([]string{"Connection", "Upgrade", "Upgrade", "websocket"}, more...)
	}
	get := func(name, path string, header []string, code int, want string) hostile {
		return hostile{name: "tail: " + name, path: path, header: header, code: code, text: want}
	}
	return []hostile{
		get("no upgrade", good, nil, 426, ""),
		get("an upgrade to something else", good, []string{"Connection", "Upgrade", "Upgrade", "h2c"}, 426, ""),
		get("no version", good, ws("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, ""),
		get("an old version", good, ws("Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, ""),
		get("no key", good, ws("Sec-WebSocket-Version", "13"), 400, ""),
		get("a short key", good, ws("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "eA=="), 400, ""),
		get("two keys", good, ws("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, ""),
		get("a metric query", tail+url.QueryEscape(`rate({app="good"}[1m])`), ws("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, ""),
		get("no query", "/loki/api/v1/tail", ws("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, "parse error"),
		get("a long delay", good+"&delay_for=6", ws("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, "delay_for"),
		{name: "tail: POST", path: good, body: text("x"), code: 405, text: "Method Not Allowed"},
	}
}

func hostileHTTP() []hostile {
	raw := func(name string, request func() []byte, code int, want string) hostile {
		return hostile{name: "HTTP: " + name, raw: request, code: code, text: want}
	}
	method := func(m, path string) hostile {
		return hostile{name: "HTTP: " + m + " " + path, method: m, path: path, code: 405, text: "Method Not Allowed"}
	}
	const host = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	return []hostile{
		method("GET", hostilePush), method("PUT", hostilePush), method("DELETE", hostilePush), method("PUT", "/loki/api/v1/query_range"),
		method("DELETE", "/loki/api/v1/labels"), method("POST", "/ready"), method("POST", "/metrics"), method("TRACE", "/ready"),
		method("GET", "/flush"), method("POST", "/config"),
		{name: "HTTP: an unknown path", path: "/loki/api/v2/query", code: 404, text: "404 page not found"},
		{name: "HTTP: the path with a slash behind", path: hostilePush + "/", body: text("x"), code: 404, text: "404 page not found"},
		{name: "HTTP: a path out of it", path: "/loki/api/v1/%2e%2e/%2e%2e/%2e%2e/etc/passwd", code: 404, text: "404 page not found"},
		{name: "HTTP: a path with encoded slashes", path: "/loki/api/v1%2fpush", body: text("x"), code: 404, text: "404 page not found"},
		{name: "HTTP: a path of another program", path: "/cgi-bin/..%5c..%5cwindows/win.ini", code: 404, text: "404 page not found"},
		{name: "HTTP: no profiles without the flag", path: "/debug/pprof/heap", code: 404, text: "404 page not found"},
		raw("no HTTP", text("hello\r\n\r\n"), 400, ""),
		raw("TLS", text("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400, ""),
		raw("no host", text("GET /ready HTTP/1.1\r\n\r\n"), 400, ""),
		raw("two hosts", text("GET /ready HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400, ""),
		raw("a host of control characters", text("GET /ready HTTP/1.1\r\nHost: a\x01b\r\n\r\n"), 400, ""),
		raw("a header name with a blank", text("GET /ready"+host+"a b: c\r\n\r\n"), 400, ""),
		raw("a NUL in a header", text("GET /ready"+host+"a: b\x00c\r\n\r\n"), 400, ""),
		raw("a header without a colon", text("GET /ready"+host+"abc\r\n\r\n"), 400, ""),
		raw("a header of 3 MB", func() []byte { return []byte("GET /ready" + host + "a: " + strings.Repeat("x", 3<<20) + "\r\n\r\n") }, 431, ""),
		raw("a hundred thousand headers", func() []byte { return []byte("GET /ready" + host + strings.Repeat("a: b\r\n", 300000) + "\r\n") }, 431, ""),
		raw("a path of 3 MB", func() []byte { return []byte("GET /" + strings.Repeat("x", 3<<20) + host + "\r\n") }, 431, ""),
		raw("a method with a blank", text("G ET /ready"+host+"\r\n"), 400, ""),
		raw("a bad escape in the path", text("GET /%zz"+host+"\r\n"), 400, ""),
		raw("two lengths", text("POST "+hostilePush+host+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), 400, ""),
		raw("a negative length", text("POST "+hostilePush+host+"Content-Length: -1\r\n\r\n"), 400, ""),
		raw("a length of text", text("POST "+hostilePush+host+"Content-Length: x\r\n\r\n"), 400, ""),
		raw("a length of 9 EB", text("POST "+hostilePush+host+"Content-Type: application/json\r\nContent-Length: 9223372036854775807\r\n\r\nx"), 413, "is larger than"),
		raw("a length beyond numbers", text("POST "+hostilePush+host+"Content-Length: 99999999999999999999\r\n\r\n"), 400, ""),
		raw("a chunk that is none", text("POST "+hostilePush+host+"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n"), 400, "reading the body"),
		raw("a chunk of 2^63", text("POST "+hostilePush+host+"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n"), 400, "reading the body"),
		raw("chunks without end", func() []byte {
			return []byte("POST " + hostilePush + host + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 300))
		}, 413, "is larger than"),
		{name: "HTTP: a body that ends early", hangUp: true, raw: text("POST " + hostilePush + host + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"), code: 499, text: "cancelled by the client"},
		{name: "HTTP: a body that does not come", slow: true, raw: text("POST " + hostilePush + host + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"), code: 408, text: "did not come"},
	}
}
