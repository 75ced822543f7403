package logql

import "strings"

// kind is what the grammar sees of a token.
type kind uint8

const (
	tEOF kind = iota
	tError
	tIdent
	tString
	tNumber
	tDuration
	tBytes
	tRange    // [5m], brackets included
	tSubquery // [1h:5m], brackets included
	tFlag     // --strict

	tLeftBrace
	tRightBrace
	tLeftParen
	tRightParen
	tComma
	tPipe
	tDot

	tPipeContains     // |=
	tPipeMatches      // |~
	tPipePattern      // |>
	tNotPattern       // !>
	tPipeContainsFold // |=i
	tNotContainsFold  // !=i
	tAssign           // =
	tNotEqual         // !=
	tMatch            // =~
	tNotMatch         // !~
	tEqual            // ==
	tGreater
	tGreaterEqual
	tLess
	tLessEqual
	tAdd
	tSub
	tMul
	tDiv
	tMod
	tPow

	tOr
	tAnd
	tUnless
	tBy
	tWithout
	tBool
	tOn
	tIgnoring
	tGroupLeft
	tGroupRight
	tOffset
	tUnwrap
	tJSON
	tLogfmt
	tRegexp
	tPattern
	tUnpack
	tDecolorize
	tLineFormat
	tLabelFormat
	tDrop
	tKeep

	// Names that are functions only in front of "(", "by" or "without".
	tIP
	tConversion
	tVector
	tLabelReplace
	tRangeOp
	tVectorOp
	tFunction // of PromQL, an index of promFunctions
)

// names of the kinds in error messages: yacc's, which users of Loki know.
var kindNames = [...]string{
	tEOF: "$end", tIdent: "IDENTIFIER", tString: "STRING", tNumber: "NUMBER", tDuration: "DURATION",
	tBytes: "BYTES", tRange: "RANGE", tSubquery: "SUBQUERY", tFlag: "FLAG",

	tLeftBrace: "{", tRightBrace: "}", tLeftParen: "(", tRightParen: ")", tComma: ",", tPipe: "|", tDot: ".",
	tPipeContains: "|=", tPipeMatches: "|~", tPipePattern: "|>", tNotPattern: "!>",
	tPipeContainsFold: "|=i", tNotContainsFold: "!=i",
	tAssign: "=", tNotEqual: "!=", tMatch: "=~", tNotMatch: "!~",
	tEqual: "==", tGreater: ">", tGreaterEqual: ">=", tLess: "<", tLessEqual: "<=",
	tAdd: "+", tSub: "-", tMul: "*", tDiv: "/", tMod: "%", tPow: "^",

	tOr: "or", tAnd: "and", tUnless: "unless", tBy: "by", tWithout: "without", tBool: "bool",
	tOn: "on", tIgnoring: "ignoring", tGroupLeft: "group_left", tGroupRight: "group_right",
	tOffset: "offset", tUnwrap: "unwrap", tJSON: "json", tLogfmt: "logfmt", tRegexp: "regexp",
	tPattern: "pattern", tUnpack: "unpack", tDecolorize: "decolorize", tLineFormat: "line_format",
	tLabelFormat: "label_format", tDrop: "drop", tKeep: "keep",

	tIP: "ip", tVector: "vector", tLabelReplace: "label_replace",
}

// keywords are reserved everywhere, whatever their case.
var keywords = func() map[string]kind {
	m := map[string]kind{}
	for k := tOr; k <= tKeep; k++ {
		m[kindNames[k]] = k
	}
	return m
}()

// function is what a name stands for when it is called.
type function struct {
	kind kind
	op   uint8 // RangeOp, VectorOp, Conversion or index of promFunctions
}

// functions by name in lower case.
var functions = func() map[string]function {
	m := map[string]function{
		"ip":            {kind: tIP},
		"vector":        {kind: tVector},
		"label_replace": {kind: tLabelReplace},
	}
	for op, name := range rangeNames {
		m[name] = function{tRangeOp, uint8(op)}
	}
	for op, name := range vectorNames {
		m[name] = function{tVectorOp, uint8(op)}
	}
	for op, name := range conversionNames {
		if name != "" {
			m[name] = function{tConversion, uint8(op)}
		}
	}
	for i, f := range promFunctions {
		m[f.name] = function{tFunction, uint8(i)}
	}
	return m
}()

// binaryOps maps the tokens of binary operators between metric expressions.
var binaryOps = map[kind]BinaryOp{
	tOr: OpOr, tAnd: OpAnd, tUnless: OpUnless,
	tEqual: OpEqual, tNotEqual: OpNotEqual, tGreater: OpGreater, tGreaterEqual: OpGreaterEqual,
	tLess: OpLess, tLessEqual: OpLessEqual,
	tAdd: OpAdd, tSub: OpSub, tMul: OpMul, tDiv: OpDiv, tMod: OpMod, tPow: OpPow,
}

// lineFilterOps maps the tokens that begin a line filter.
var lineFilterOps = map[kind]LineFilterOp{
	tPipeContains: LineContains, tNotEqual: LineNotContains,
	tPipeMatches: LineMatches, tNotMatch: LineNotMatches,
	tPipePattern: LinePattern, tNotPattern: LineNotPattern,
	tPipeContainsFold: LineContainsFold, tNotContainsFold: LineNotContainsFold,
}

// compareOps maps the tokens that compare a label with a number.
var compareOps = map[kind]CompareOp{
	tAssign: CompareEqual, tEqual: CompareEqual, tNotEqual: CompareNotEqual,
	tGreater: CompareGreater, tGreaterEqual: CompareGreaterEqual,
	tLess: CompareLess, tLessEqual: CompareLessEqual,
}

// token is one word of the query.
type token struct {
	kind kind
	// op tells functions of one kind apart.
	op uint8
	// pos and end are byte offsets.
	pos, end Pos
	// text is the source text; of a string its value; of an error the message.
	text string
	// number is the value of tNumber; whole that of tDuration, tRange and tSubquery
	// in nanoseconds and of tBytes in bytes.
	number float64
	whole  uint64
	// step is the second length of a tSubquery in nanoseconds, 0 if there is none.
	step uint64
}

// name is how error messages call the token.
func (t token) name() string {
	switch t.kind {
	case tRangeOp, tVectorOp, tConversion, tFunction:
		return strings.ToLower(t.text)
	case tFlag:
		return t.text
	}
	return kindNames[t.kind]
}
