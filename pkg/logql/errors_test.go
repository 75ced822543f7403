package logql

import (
	"errors"
	"fmt"
	"testing"
)

const emptyMatchers = `parse error : queries require at least one regexp or equality matcher that does not have an ` +
	`empty-compatible value. For instance, app=~".*" does not meet this requirement, but app=~".+" will`

func asParseError(err error, target **ParseError) bool { return errors.As(err, target) }

// refused are queries, the place line:col that is blamed, and the whole error.
var refused = []struct{ query, place, want string }{
	// Nothing.
	{``, `1:1`, `parse error at line 1, col 1: syntax error: unexpected $end`},
	{"  \n ", `2:2`, `parse error at line 2, col 2: syntax error: unexpected $end`},
	{`# only a comment`, `1:17`, `parse error at line 1, col 17: syntax error: unexpected $end`},

	// Tokens.
	{`{a="b`, `1:4`, `parse error at line 1, col 4: literal not terminated`},
	{"{a=`b", `1:4`, `parse error at line 1, col 4: literal not terminated`},
	{"{a=\"b\n\"}", `1:4`, `parse error at line 1, col 4: literal not terminated`},
	{`{a="b"} |~ "\d"`, `1:12`, `parse error at line 1, col 12: invalid char escape \d (write \\d, or put the text in backquotes)`},
	{`{a="\`, `1:4`, `parse error at line 1, col 4: literal not terminated`},
	{`{a="\ü"}`, `1:4`, `parse error at line 1, col 4: invalid char escape \ü (write \\ü, or put the text in backquotes)`},
	{`{a='b'}`, `1:4`, `parse error at line 1, col 4: syntax error: unexpected ' (strings are written in double quotes or backquotes)`},
	{`{a=“b”}`, `1:4`, `parse error at line 1, col 4: syntax error: unexpected “ (strings are written in plain double quotes or backquotes)`},
	{`{a="b"} |= $x`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected $ (a dashboard variable that was not filled in?)`},
	{`{a="b"} ! "x"`, `1:9`, `parse error at line 1, col 9: syntax error: unexpected !, expecting != or !~ or !>`},
	{"{a=\"b\"} \x00", `1:9`, `parse error at line 1, col 9: syntax error: unexpected character '\x00'`},
	{"{a=\"b\xff\"}", `1:4`, `parse error at line 1, col 4: literal not terminated`},
	{"{a=\"b\"} \xff", `1:9`, `parse error at line 1, col 9: invalid UTF-8 encoding`},
	{`{grüße="x"} ~`, `1:13`, `parse error at line 1, col 13: syntax error: unexpected character '~'`},
	{`1e999`, `1:1`, `parse error at line 1, col 1: number 1e999 is out of range`},
	{"{a=\"b\"}\n  |= \"x\"\n\t| foo bar", `3:8`, `parse error at line 3, col 8: syntax error: unexpected IDENTIFIER`},

	// Selectors.
	{`{`, `1:2`, `parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }`},
	{`{a`, `1:3`, `parse error at line 1, col 3: syntax error: unexpected $end, expecting = or != or =~ or !~`},
	{`{a=`, `1:4`, `parse error at line 1, col 4: syntax error: unexpected $end, expecting STRING`},
	{`{a=b}`, `1:4`, `parse error at line 1, col 4: syntax error: unexpected IDENTIFIER, expecting STRING`},
	{`{a="b"`, `1:7`, `parse error at line 1, col 7: syntax error: unexpected $end, expecting } or ,`},
	{`{a="b",}`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected }, expecting IDENTIFIER`},
	{`{a="b" c="d"}`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected IDENTIFIER, expecting } or ,`},
	{`{a>"b"}`, `1:3`, `parse error at line 1, col 3: syntax error: unexpected >, expecting = or != or =~ or !~`},
	{`{by="b"}`, `1:2`, `parse error at line 1, col 2: syntax error: unexpected by, expecting IDENTIFIER or }`},
	{`{a=~"("}`, `1:5`, "parse error : error parsing regexp: missing closing ): `(`"},
	{`{a="b"}}`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected }`},
	{`foo{a="b"}`, `1:1`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER (a selector has no name in front: write {...})`},
	{`{}`, `1:1`, emptyMatchers},
	{`{a=~".*"}`, `1:1`, emptyMatchers},
	{`{a=""} |= "x"`, `1:1`, emptyMatchers},
	{`rate({a="b"}[1m]) / rate({a!="c"}[1m])`, `1:26`, emptyMatchers},
	{`{a=~".*"} |`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected $end`},

	// Line filters.
	{`{a="b"} |= x`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting STRING or ip`},
	{`{a="b"} |= "x" or 1`, `1:19`, `parse error at line 1, col 19: syntax error: unexpected NUMBER, expecting STRING or ip`},
	{`{a="b"} "x"`, `1:9`, `parse error at line 1, col 9: syntax error: unexpected STRING`},
	{`{a="b"} |~ "("`, `1:12`, "parse error : error parsing regexp: missing closing ): `(`"},
	{`{a="b"} |~ ip("1.2.3.4")`, `1:12`, `parse error : ip() is only supported with |= and !=, not with |~`},
	{`{a="b"} |= ip("1.2.3")`, `1:15`, `parse error : ip: "1.2.3" is not an address, a prefix (10.0.0.0/8) or a range (10.0.0.1-10.0.0.9)`},
	{`{a="b"} |> "<x>"`, `1:12`, `parse error : invalid line filter pattern "<x>": named captures are not allowed here: write <_>, found <x>`},
	{`{a="b"} !> "<_><_>"`, `1:12`, `parse error : invalid line filter pattern "<_><_>": captures side by side at byte 3: put text between them`},

	// Stages.
	{`{a="b"} |`, `1:10`, `parse error at line 1, col 10: syntax error: unexpected $end`},
	{`{a="b"} | "x"`, `1:11`, `parse error at line 1, col 11: syntax error: unexpected STRING`},
	{`{a="b"} | jsn`, `1:14`, `parse error at line 1, col 14: syntax error: unexpected $end (did you mean | json?)`},
	{`{a="b"} | jsno | x="y"`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected | (did you mean | json?)`},
	{`{a="b"} | line_fromat "x"`, `1:23`, `parse error at line 1, col 23: syntax error: unexpected STRING (did you mean | line_format?)`},
	{`{a="b"} | logfmt --strct`, `1:18`, `parse error at line 1, col 18: syntax error: unexpected --strct, expecting --strict or --keep-empty (did you mean --strict?)`},
	{`{a="b"} | json --strict`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected --strict, expecting --arrays`},
	{`{a="b"} | json x=`, `1:18`, `parse error at line 1, col 18: syntax error: unexpected $end, expecting STRING`},
	{`{a="b"} | json x="a..b"`, `1:18`, `parse error : invalid json expression "a..b": at byte 1: a key is missing`},
	{`{a="b"} | logfmt x="a.b"`, `1:20`, `parse error : invalid logfmt expression "a.b": a key has only letters, digits and underscores`},
	{`{a="b"} | regexp "x"`, `1:18`, `parse error : invalid regexp parser: at least one named capture must be supplied`},
	{`{a="b"} | regexp "(x)"`, `1:18`, `parse error : invalid regexp parser: at least one named capture must be supplied`},
	{`{a="b"} | regexp "("`, `1:18`, "parse error : invalid regexp parser: error parsing regexp: missing closing ): `(`"},
	{`{a="b"} | regexp "(?P<1a>x)"`, `1:18`, `parse error : invalid regexp parser: invalid extracted label name '1a'`},
	{`{a="b"} | pattern "x"`, `1:19`, `parse error : invalid pattern parser: at least one named capture is required, such as <status>`},
	{`{a="b"} | pattern "<a><b>"`, `1:19`, `parse error : invalid pattern parser: captures side by side at byte 3: put text between them`},
	{`{a="b"} | pattern "<a> <a>"`, `1:19`, `parse error : invalid pattern parser: duplicate capture name <a>`},
	{`{a="b"} | pattern ""`, `1:19`, `parse error : invalid pattern parser: empty pattern`},
	{`{a="b"} | line_format "{{bad .x}}"`, `1:23`, `parse error : stage '| line_format "{{bad .x}}"' : invalid line template: template: line:1: function "bad" not defined`},
	{`{a="b"} | line_format "{{"`, `1:23`, `parse error : stage '| line_format "{{"' : invalid line template: template: line:1: unclosed action`},
	{`{a="b"} | label_format x="{{.y"`, `1:26`, `parse error : stage '| label_format x="{{.y"' : invalid template for label 'x': template: label:1: unclosed action`},
	{`{a="b"} | label_format x=y, x=z`, `1:29`, `parse error : multiple label name 'x' not allowed in a single format operation`},
	{`{a="b"} | label_format __error__=x`, `1:24`, `parse error : __error__ cannot be formatted`},
	{`{a="b"} | label_format by=x`, `1:24`, `parse error at line 1, col 24: syntax error: unexpected by, expecting IDENTIFIER`},
	{`{a="b"} | label_format json=x`, `1:24`, `parse error at line 1, col 24: syntax error: unexpected json, expecting IDENTIFIER`},
	{`{a="b"} | label_format x=1`, `1:26`, `parse error at line 1, col 26: syntax error: unexpected NUMBER, expecting IDENTIFIER or STRING`},
	{`{a="b"} | drop`, `1:15`, `parse error at line 1, col 15: syntax error: unexpected $end, expecting IDENTIFIER`},
	{`{a="b"} | keep x,`, `1:18`, `parse error at line 1, col 18: syntax error: unexpected $end, expecting IDENTIFIER`},
	{`{a="b"} | unwrap x`, `1:11`, `parse error at line 1, col 11: syntax error: unexpected unwrap (unwrap is only meant inside a function such as sum_over_time(... [5m]))`},
	{`sum({a="b"} | unwrap x)`, `1:15`, `parse error at line 1, col 15: syntax error: unexpected unwrap (unwrap is only meant inside a function such as sum_over_time(... [5m]))`},
	{`{a="b"}[5m]`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected RANGE (a range is only meant inside a function such as rate(...))`},

	// Label filters.
	{`{a="b"} | x`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected $end`},
	{`{a="b"} | x >`, `1:14`, `parse error at line 1, col 14: syntax error: unexpected $end, expecting NUMBER or DURATION or BYTES`},
	{`{a="b"} | x = y`, `1:15`, `parse error at line 1, col 15: syntax error: unexpected IDENTIFIER, expecting STRING or NUMBER or DURATION or BYTES`},
	{`{a="b"} | x == "y"`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected STRING, expecting NUMBER or DURATION or BYTES (text is compared with =, numbers with ==)`},
	{`{a="b"} | x > "y"`, `1:15`, `parse error at line 1, col 15: syntax error: unexpected STRING, expecting NUMBER or DURATION or BYTES (text is compared with = != =~ !~)`},
	{`{a="b"} | x =~ 1`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected NUMBER, expecting STRING`},
	{`{a="b"} | x =~ "("`, `1:16`, "parse error : error parsing regexp: missing closing ): `(`"},
	{`{a="b"} | x > ip("1.2.3.4")`, `1:15`, `parse error at line 1, col 15: syntax error: unexpected ip, expecting NUMBER or DURATION or BYTES`},
	{`{a="b"} | (x="y"`, `1:17`, `parse error at line 1, col 17: syntax error: unexpected $end, expecting )`},
	{`{a="b"} | x="y" and`, `1:20`, `parse error at line 1, col 20: syntax error: unexpected $end, expecting IDENTIFIER or (`},
	{`{a="b"} | x > 20kb`, `1:19`, `parse error at line 1, col 19: syntax error: unexpected $end (20kb has no known unit: durations end in ms, s, m, h, d, w or y, sizes in B, kB, KiB, MB, MiB, ...)`},
	{`{a="b"} | x > -20kB`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected BYTES, expecting NUMBER or DURATION or BYTES`},

	{`{a="b"} | x > 1__0`, `1:19`, `parse error at line 1, col 19: syntax error: unexpected $end (1__0 has no known unit: durations end in ms, s, m, h, d, w or y, sizes in B, kB, KiB, MB, MiB, ...)`},
	{`{a="b"} /* x`, `1:9`, `parse error at line 1, col 9: comment not terminated`},
	{`/`, `1:1`, `parse error at line 1, col 1: syntax error: unexpected /`},

	// Ranges.
	{`rate({a="b"})`, `1:13`, `parse error at line 1, col 13: syntax error: unexpected ), expecting RANGE (a range such as [5m] is missing)`},
	{`rate({a="b"}[5minutes])`, `1:13`, `parse error at line 1, col 13: unknown unit "minutes" in duration "5minutes"`},
	{`rate({a="b"}[5m)`, `1:13`, `parse error at line 1, col 13: missing closing ']' in duration`},
	{`rate({a="b"}[])`, `1:13`, `parse error at line 1, col 13: empty duration string`},
	{`rate({a="b"}[5])`, `1:13`, `parse error at line 1, col 13: not a valid duration string: "5"`},
	{`rate({a="b"}[1.5h])`, `1:13`, `parse error at line 1, col 13: unknown unit "." in duration "1.5h" (write 1h30m)`},
	{`rate({a="b"}[$__auto])`, `1:13`, `parse error at line 1, col 13: not a valid duration string: "$__auto" (a dashboard variable that was not filled in?)`},
	{`rate({a="b"}[5m:1m])`, `1:13`, `parse error at line 1, col 13: syntax error: unexpected SUBQUERY, expecting RANGE (lines have a range such as [5m]; a subquery follows a metric query)`},
	{`rate({a="b"}[5m] offset)`, `1:24`, `parse error at line 1, col 24: syntax error: unexpected ), expecting DURATION`},
	{`rate({a="b"} offset 5m)`, `1:14`, `parse error at line 1, col 14: syntax error: unexpected offset, expecting RANGE (a range such as [5m] is missing)`},
	{`rate({a="b"}[5m][5m])`, `1:17`, `parse error at line 1, col 17: syntax error: unexpected RANGE, expecting )`},
	{`rate({a="b"}[5m]`, `1:17`, `parse error at line 1, col 17: syntax error: unexpected $end, expecting )`},
	{`rate(sum(rate({a="b"}[5m])))`, `1:6`, `parse error at line 1, col 6: syntax error: unexpected sum, expecting NUMBER or { or ( (over a metric query it takes a subquery, such as [1h:5m])`},
	{`quantile_over_time(-1, {a="b"} | unwrap x [5m])`, `1:20`, `parse error at line 1, col 20: syntax error: unexpected -, expecting NUMBER or { or (`},
	{`quantile_over_time(1 {a="b"} | unwrap x [5m])`, `1:22`, `parse error at line 1, col 22: syntax error: unexpected {, expecting ,`},
	{`sum_over_time({a="b"} | unwrap byte(x) [5m])`, `1:36`, `parse error at line 1, col 36: syntax error: unexpected (, expecting RANGE (did you mean bytes?)`},
	{`sum_over_time({a="b"} | unwrap "x" [5m])`, `1:32`, `parse error at line 1, col 32: syntax error: unexpected STRING, expecting IDENTIFIER or bytes or duration or duration_seconds`},
	{`sum_over_time({a="b"} | unwrap x | json [5m])`, `1:36`, `parse error at line 1, col 36: syntax error: unexpected json, expecting IDENTIFIER or ( (only label filters can follow unwrap)`},
	{`rate`, `1:1`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER`},
	{`count_overtime({a="b"}[5m])`, `1:1`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER (did you mean count_over_time?)`},
	{`sum(raet({a="b"}[5m]))`, `1:5`, `parse error at line 1, col 5: syntax error: unexpected IDENTIFIER (did you mean rate?)`},

	// Unwrap, grouping and parameters.
	{`sum_over_time({a="b"}[5m])`, `1:1`, `parse error : invalid aggregation sum_over_time without unwrap`},
	{`rate_counter({a="b"}[5m])`, `1:1`, `parse error : invalid aggregation rate_counter without unwrap`},
	{`count_over_time({a="b"} | unwrap x [5m])`, `1:27`, `parse error : invalid aggregation count_over_time with unwrap`},
	{`bytes_rate({a="b"} | unwrap x [5m])`, `1:22`, `parse error : invalid aggregation bytes_rate with unwrap`},
	{`sum_over_time({a="b"} | unwrap x [5m]) by (c)`, `1:40`, `parse error : grouping not allowed for sum_over_time aggregation`},
	{`rate({a="b"}[5m]) by (c)`, `1:19`, `parse error : grouping not allowed for rate aggregation`},
	{`absent_over_time({a="b"}[5m]) without (c)`, `1:31`, `parse error : grouping not allowed for absent_over_time aggregation`},
	{`rate_counter({a="b"} | unwrap x [5m]) by (c)`, `1:39`, `parse error : grouping not allowed for rate_counter aggregation`},
	{`sort(rate({a="b"}[5m])) by (c)`, `1:25`, `parse error : sort and sort_desc doesn't allow grouping by`},
	{`sort_desc by (c) (rate({a="b"}[5m]))`, `1:11`, `parse error : sort and sort_desc doesn't allow grouping by`},
	{`approx_topk by (c) (1, rate({a="b"}[5m]))`, `1:13`, `parse error : grouping not allowed for approx_topk aggregation`},
	{`sum by (a) (rate({a="b"}[5m])) by (c)`, `1:32`, `parse error at line 1, col 32: syntax error: unexpected by`},
	{`sum by a (rate({a="b"}[5m]))`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected IDENTIFIER, expecting (`},
	{`sum by (a b) (rate({a="b"}[5m]))`, `1:11`, `parse error at line 1, col 11: syntax error: unexpected IDENTIFIER, expecting ) or ,`},
	{`topk(rate({a="b"}[5m]))`, `1:1`, `parse error : parameter required for operation topk`},
	{`quantile_over_time({a="b"} | unwrap x [5m])`, `1:1`, `parse error : parameter required for operation quantile_over_time`},
	{`sum(3, rate({a="b"}[5m]))`, `1:5`, `parse error : unsupported parameter for operation sum(3,`},
	{`bottomk(1.2, rate({a="b"}[5m]))`, `1:9`, `parse error : invalid parameter bottomk(1.2,`},
	{`topk(0, rate({a="b"}[5m]))`, `1:6`, `parse error : invalid parameter (must be greater than 0) topk(0`},
	{`topk(-1, rate({a="b"}[5m]))`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected ,, expecting )`},
	{`sum_over_time(50, {a="b"} | unwrap x [5m])`, `1:15`, `parse error : parameter 50 not supported for operation sum_over_time`},
	{`sum({a="b"})`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected ) (sum needs a metric query inside, such as count_over_time({...}[5m]))`},
	{`sum({a="b"}[5m])`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected RANGE (sum needs a metric query inside, such as count_over_time({...}[5m]))`},
	{`sum(1)`, `1:5`, `parse error : sum needs series, found the number 1: write vector(1)`},

	// Operators.
	{`{a="b"} + 1`, `1:1`, `parse error : unexpected type for left leg of binary operation (+): a log query, where a metric query such as count_over_time({...}[5m]) is needed`},
	{`1 + {a="b"}`, `1:5`, `parse error : unexpected type for right leg of binary operation (+): a log query, where a metric query such as count_over_time({...}[5m]) is needed`},
	{`vector(1) or 1`, `1:14`, `parse error : unexpected literal for right leg of logical/set binary operation (or): 1.000000`},
	{`2 unless vector(1)`, `1:1`, `parse error : unexpected literal for left leg of logical/set binary operation (unless): 2.000000`},
	{`1 and 2`, `1:1`, `parse error : unexpected literal for left leg of logical/set binary operation (and): 1.000000`},
	{`1 +`, `1:4`, `parse error at line 1, col 4: syntax error: unexpected $end`},
	{`1 + * 2`, `1:5`, `parse error at line 1, col 5: syntax error: unexpected *`},
	{`1 2`, `1:3`, `parse error at line 1, col 3: syntax error: unexpected NUMBER`},
	{`-vector(1)`, `1:2`, `parse error at line 1, col 2: syntax error: unexpected vector, expecting NUMBER`},
	{`vector(1) + group_left vector(2)`, `1:13`, `parse error at line 1, col 13: syntax error: unexpected group_left`},
	{`vector(1) + on vector(2)`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected vector, expecting (`},
	{`vector({a="b"})`, `1:8`, `parse error at line 1, col 8: syntax error: unexpected {, expecting NUMBER`},
	{`label_replace(vector(1), "a", "b", "c", "(")`, `1:41`, "parse error : invalid regex in label_replace: error parsing regexp: missing closing ): `(`"},
	{`label_replace(vector(1), "a b", "b", "c", "d")`, `1:26`, `parse error : invalid label name "a b" in label_replace`},
	{`label_replace(1, "a", "b", "c", "d")`, `1:15`, `parse error : label_replace needs series, found the number 1: write vector(1)`},
	{`label_replace(vector(1), "a", "b", "c")`, `1:39`, `parse error at line 1, col 39: syntax error: unexpected ), expecting ,`},
	{`label_replace({a="b"}, "a", "b", "c", "d")`, `1:22`, `parse error at line 1, col 22: syntax error: unexpected , (label_replace needs a metric query inside, such as count_over_time({...}[5m]))`},
	{`(1`, `1:3`, `parse error at line 1, col 3: syntax error: unexpected $end, expecting )`},

	// Extensions.
	{`{a="b"} |= i "x"`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting STRING or ip`},
	{`{a="b"} |=i ip("1.2.3.4")`, `1:13`, `parse error : ip() is only supported with |= and !=, not with |=i`},
	{`{a="b"} |=i`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected $end, expecting STRING or ip`},
	{`{a="b"} |=ix "x"`, `1:11`, `parse error at line 1, col 11: syntax error: unexpected IDENTIFIER, expecting STRING or ip`},
	{`{a="b"} |=i "\xff"`, `1:13`, `parse error : |=i compares characters and needs valid UTF-8, found "\xff"`},
	{`{a!=i"b"}`, `1:3`, `parse error at line 1, col 3: syntax error: unexpected !=i, expecting = or != or =~ or !~`},
	{`{a="b"} | distinct`, `1:19`, `parse error at line 1, col 19: syntax error: unexpected $end`},
	{`{a="b"} | distinct c,`, `1:22`, `parse error at line 1, col 22: syntax error: unexpected $end, expecting IDENTIFIER`},
	{`{a="b"} | distinct "c"`, `1:20`, `parse error at line 1, col 20: syntax error: unexpected STRING`},
	{`rate({a="b"} | distinct c [5m])`, `1:16`, `parse error : distinct is for log queries: count_distinct_over_time(label, ...) counts the values of a label`},
	{`{a="b"} | json --arrays c="d"`, `1:16`, `parse error : --arrays takes everything: leave it out where json has expressions, such as first="tags[0]"`},
	{`{a="b"} | json --array`, `1:16`, `parse error at line 1, col 16: syntax error: unexpected --array, expecting --arrays (did you mean --arrays?)`},
	{`count_distinct_over_time({a="b"}[5m])`, `1:26`, `parse error at line 1, col 26: syntax error: unexpected {, expecting IDENTIFIER`},
	{`count_distinct_over_time(c {a="b"}[5m])`, `1:28`, `parse error at line 1, col 28: syntax error: unexpected {, expecting ,`},
	{`count_distinct_over_time(c, {a="b"} | unwrap d [5m])`, `1:39`, `parse error : invalid aggregation count_distinct_over_time with unwrap`},
	{`count_distinct_over_time(c, vector(1)[1h:])`, `1:1`, `parse error : count_distinct_over_time works on lines: it has no meaning over a subquery`},
	{`bytes_rate(vector(1)[1h:])`, `1:1`, `parse error : bytes_rate works on lines: it has no meaning over a subquery`},
	{`abs()`, `1:5`, `parse error at line 1, col 5: syntax error: unexpected )`},
	{`abs(1)`, `1:5`, `parse error : abs needs series, found the number 1: write vector(1)`},
	{`abs(time())`, `1:5`, `parse error : abs needs series, found the number time()`},
	{`abs({a="b"})`, `1:5`, `parse error : abs needs a metric query inside, such as count_over_time({...}[5m])`},
	{`abs(vector(1)[1h:])`, `1:5`, `parse error : argument 1 of abs cannot be a subquery`},
	{`abs(vector(1), 2)`, `1:14`, `parse error at line 1, col 14: syntax error: unexpected ,, expecting )`},
	{`clamp_max(vector(1))`, `1:20`, `parse error at line 1, col 20: syntax error: unexpected ), expecting ,`},
	{`clamp_max(vector(1), vector(2))`, `1:22`, `parse error : argument 2 of clamp_max has to be a single number`},
	{`histogram_quantile(vector(1), 2)`, `1:20`, `parse error : argument 1 of histogram_quantile has to be a single number`},
	{`deriv(vector(1))`, `1:7`, `parse error : argument 1 of deriv has to be a subquery, such as deriv(count_over_time({...}[5m])[1h:5m])`},
	{`deriv(1[1h:])`, `1:7`, `parse error : a subquery needs series, found the number 1: write vector(1)`},
	{`deriv(vector(1) + vector(2)[1h:])`, `1:28`, `parse error at line 1, col 28: syntax error: unexpected SUBQUERY, expecting ) (the subquery belongs to the last operand alone: put the operation in parentheses)`},
	{`deriv({a="b"}[1h:5m])`, `1:14`, `parse error at line 1, col 14: syntax error: unexpected SUBQUERY (lines have a range such as [5m]; a subquery follows a metric query)`},
	{`max_over_time({a="b"} | unwrap x [1h:5m])`, `1:34`, `parse error at line 1, col 34: syntax error: unexpected SUBQUERY, expecting RANGE (lines have a range such as [5m]; a subquery follows a metric query)`},
	{`deriv(vector(1)[0s:])`, `1:16`, `parse error at line 1, col 16: the range of a subquery is 0`},
	{`deriv(vector(1)[1h:0s])`, `1:16`, `parse error at line 1, col 16: the step of a subquery is 0`},
	{`deriv(vector(1)[1h:x])`, `1:16`, `parse error at line 1, col 16: not a valid duration string: "x"`},
	{`rate(vector(1)[1h:0s])`, `1:15`, `parse error at line 1, col 15: the step of a subquery is 0`},
	{`bytes_rate('x')`, `1:12`, `parse error at line 1, col 12: syntax error: unexpected ' (strings are written in double quotes or backquotes)`},
	{`deriv(vector(1)[:5m])`, `1:16`, `parse error at line 1, col 16: empty duration string`},
	{`vector(1)[1h:5m]`, `1:10`, `parse error at line 1, col 10: syntax error: unexpected SUBQUERY (a subquery is only meant as the argument of a function such as max_over_time)`},
	{`sum(vector(1)[1h:5m])`, `1:14`, `parse error at line 1, col 14: syntax error: unexpected SUBQUERY, expecting ) (a subquery is only meant as the argument of a function such as max_over_time)`},
	{`time() or vector(1)`, `1:1`, `parse error : unexpected number for left leg of logical/set binary operation (or): time()`},
	{`sum(time() + 1)`, `1:12`, `parse error : sum needs series, found the number time() + 1`},
	{`label_join(vector(1), "a b", ",", "c")`, `1:23`, `parse error : invalid label name "a b" in label_join`},
	{`label_join(vector(1), "a")`, `1:26`, `parse error at line 1, col 26: syntax error: unexpected ), expecting ,`},
	{`abs by (c) (vector(1))`, `1:1`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER`},
	{`asb(vector(1))`, `1:1`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER (did you mean abs?)`},

	{`sum(rate({a="b"}[5m])))`, `1:23`, `parse error at line 1, col 23: syntax error: unexpected )`},
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range refused {
		e, err := Parse(tc.query)
		var pe *ParseError
		if !asParseError(err, &pe) {
			t.Errorf("Parse(%s) = %v, %v, want %s", tc.query, e, err, tc.want)
			continue
		}
		if e != nil {
			t.Errorf("Parse(%s) returns a tree beside its error", tc.query)
		}
		if err.Error() != tc.want {
			t.Errorf("Parse(%s)\n got %s\nwant %s", tc.query, err, tc.want)
		}
		if place := fmt.Sprintf("%d:%d", pe.Line, pe.Col); place != tc.place {
			t.Errorf("Parse(%s) blames %s, want %s", tc.query, place, tc.place)
		}
		if line, col := pe.Offset.LineCol(tc.query); line != pe.Line || col != pe.Col {
			t.Errorf("Parse(%s): offset %d is %d:%d, want %d:%d", tc.query, pe.Offset, line, col, pe.Line, pe.Col)
		}
		if pe.Query != tc.query {
			t.Errorf("Parse(%s): Query is %s", tc.query, pe.Query)
		}
	}
}

func TestCaret(t *testing.T) {
	tests := []struct {
		query string
		width int
		want  string
	}{
		{`{a="b"} |> 5`, 0, "{a=\"b\"} |> 5\n           ^"},
		{"{a=\"b\"}\n\t|= 5\n| json", 80, " |= 5\n    ^"},
		{`{a="grüße"} |= 5`, 80, "{a=\"grüße\"} |= 5\n               ^"},
		{`{a="b"`, 80, "{a=\"b\"\n      ^"},
		{``, 80, "\n^"},
		{`{a="0123456789012345678901234567890"} |= 5 | json | line_format "0123456789"`, 30,
			"...234567890\"} |= 5 | json ...\n                  ^"},
		{`{a="0123456789012345678901234567890"} |= 5`, 30,
			"...12345678901234567890\"} |= 5\n                             ^"},
		{`5 5 0123456789012345678901234567890`, 20, "5 5 0123456789012...\n  ^"},
		{`5 5 0123456789012345678901234567890`, 1, "5 5 0123456789012...\n  ^"},
		{`{a="0123456789012345678901234567890"`, 20, "...678901234567890\"\n                   ^"},
	}
	for _, tc := range tests {
		_, err := Parse(tc.query)
		var pe *ParseError
		if !asParseError(err, &pe) {
			t.Fatalf("%s: no parse error", tc.query)
		}
		if got := pe.Caret(tc.width); got != tc.want {
			t.Errorf("%s, width %d\n got:\n%s\nwant:\n%s", tc.query, tc.width, got, tc.want)
		}
	}
	if got := (&ParseError{Query: "x", Line: 3}).Caret(80); got != "" {
		t.Errorf("a line that is not there: %q", got)
	}
}

func TestLineCol(t *testing.T) {
	const text = "añb\n\nc"
	want := map[Pos][2]int{-1: {1, 1}, 0: {1, 1}, 1: {1, 2}, 3: {1, 3}, 4: {1, 4}, 5: {2, 1}, 6: {3, 1}, 7: {3, 2}, 99: {3, 2}}
	for p, lc := range want {
		if line, col := p.LineCol(text); line != lc[0] || col != lc[1] {
			t.Errorf("%d: got %d:%d, want %v", p, line, col, lc)
		}
	}
}
