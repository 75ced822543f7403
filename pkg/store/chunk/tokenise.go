package chunk

// How a line is cut. The reader does not depend on any of this.
const (
	// maxLineFields is the number of fields of a line; the last one holds the rest.
	maxLineFields = 250
	// maxQuoted is how far the end of a quoted string is looked for.
	maxQuoted = 2048
	// maxKey is the length of a key in bytes.
	maxKey = 40
)

// Classes of bytes.
const (
	clsSep   = 1 << iota // ends a field
	clsKey               // may stand in a key
	clsDigit             // 0-9
	clsAlpha             // A-Z a-z
	clsLower             // a hexadecimal digit in lower case: 0-9 a-f
	clsUpper             // 0-9 A-F
)

var class = func() (t [256]byte) {
	for _, c := range []byte(" \t,;=|()[]{}<>\"'&?") {
		t[c] |= clsSep
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= clsDigit | clsLower | clsUpper
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= clsAlpha | clsKey
		t[c-'a'+'A'] |= clsAlpha | clsKey
	}
	for c := 'a'; c <= 'f'; c++ {
		t[c] |= clsLower
		t[c-'a'+'A'] |= clsUpper
	}
	for _, c := range []byte("_.-") {
		t[c] |= clsKey
	}
	return t
}()

func isKey(s string) bool {
	if len(s) == 0 || len(s) > maxKey {
		return false
	}
	for i := 0; i < len(s); i++ {
		if class[s[i]]&clsKey == 0 {
			return false
		}
	}
	return true
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if class[s[i]]&clsDigit == 0 {
			return false
		}
	}
	return len(s) > 0
}

// tokenise cuts a line that holds no 0xFF: it appends the fields to fields and
// the shape, static text with 0xFF for each field, to text.
func tokenise(line string, text []byte, fields []string) ([]byte, []string) {
	limit := len(fields) + maxLineFields - 1
	lit := 0 // static text from here on is not in text yet
	for i := 0; i < len(line); {
		c := line[i]
		if c == '"' {
			end := closingQuote(line, i)
			if end < 0 {
				i++
				continue
			}
			if end+1 < len(line) && line[end+1] == ':' && isKey(line[i+1:end]) {
				i = end + 2
				continue
			}
			if len(fields) == limit {
				return append(append(text, line[lit:i]...), fieldMark), append(fields, line[i:])
			}
			text = append(append(text, line[lit:i+1]...), fieldMark)
			fields = append(fields, line[i+1:end])
			lit = end
			i = end + 1
			continue
		}
		if class[c]&clsSep != 0 {
			i++
			continue
		}
		start := i
		if class[c]&clsDigit != 0 {
			i += dateLen(line[i:])
		}
		for i < len(line) && class[line[i]]&clsSep == 0 {
			i++
		}
		if i < len(line) && line[i] == '=' && isKey(line[start:i]) {
			i++
			continue
		}
		text = append(append(text, line[lit:start]...), fieldMark)
		if len(fields) == limit {
			return text, append(fields, line[start:])
		}
		fields = append(fields, line[start:i])
		lit = i
	}
	return append(text, line[lit:]...), fields
}

// closingQuote finds the end of the string that starts at i, -1 if there is none near.
func closingQuote(line string, i int) int {
	end := min(len(line), i+1+maxQuoted)
	for j := i + 1; j < end; j++ {
		switch line[j] {
		case '"':
			return j
		case '\\':
			j++
		}
	}
	return -1
}

// dateLen is the length of a date and clock at the start of s that hold a space
// or a comma, 0 if there is none: 2026-11-22 10:15:30 or 2026-11-22 10:15:30,123.
func dateLen(s string) int {
	if len(s) < 19 || s[10] != ' ' && s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[4] != s[7] || s[4] != '-' && s[4] != '/' {
		return 0
	}
	for _, i := range [...]int{0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18} {
		if class[s[i]]&clsDigit == 0 {
			return 0
		}
	}
	n := 19
	if len(s) > 20 && s[19] == ',' && class[s[20]]&clsDigit != 0 {
		n = 20
	}
	return n
}

// keyOf is the key in front of a field whose shape text so far is s:
// `"key":`, `"key":"`, `"key": "`, `key=` or `key="`. "" if there is none.
func keyOf(s []byte) string {
	s = trimLast(s, '"')
	if k := trimLast(s, '='); len(k) < len(s) {
		start := len(k)
		for start > 0 && class[k[start-1]]&clsKey != 0 {
			start--
		}
		return string(k[start:])
	}
	s = trimLast(s, ' ')
	k := trimLast(s, ':')
	if len(k) == len(s) || len(k) == 0 || k[len(k)-1] != '"' {
		return ""
	}
	k = k[:len(k)-1]
	start := len(k)
	for start > 0 && class[k[start-1]]&clsKey != 0 {
		start--
	}
	return string(k[start:])
}

func trimLast(s []byte, c byte) []byte {
	if n := len(s); n > 0 && s[n-1] == c {
		return s[:n-1]
	}
	return s
}

// skeleton appends value with each variable replaced by 0xFF to text and the
// variables to vars. A variable is a run of letters and digits with a digit in
// it; a unit behind and a word in front of a number stay text ("12ms", "u123"),
// and a UUID is one variable. Runs in which letters and digits alternate more
// often are never cut: the text search relies on it.
func skeleton(value string, text []byte, vars []string) ([]byte, []string) {
	for i := 0; i < len(value); {
		c := class[value[i]]
		if c&(clsDigit|clsAlpha) == 0 {
			text = append(text, value[i])
			i++
			continue
		}
		start := i
		if isUUIDAt(value, i) {
			i += 36
			text = append(text, fieldMark)
			vars = append(vars, value[start:i])
			continue
		}
		// head letters, then digits, then tail letters; simple while it is only that.
		allHex := byte(clsLower | clsUpper)
		for i < len(value) && class[value[i]]&clsAlpha != 0 {
			allHex &= class[value[i]]
			i++
		}
		head := i
		headHex := allHex&(clsLower|clsUpper) != 0
		for i < len(value) && class[value[i]]&clsDigit != 0 {
			i++
		}
		digits := i
		allHex = clsLower | clsUpper
		for i < len(value) && class[value[i]]&clsAlpha != 0 {
			allHex &= class[value[i]]
			i++
		}
		tail := i
		tailHex := allHex&(clsLower|clsUpper) != 0
		for i < len(value) && class[value[i]]&(clsDigit|clsAlpha) != 0 {
			i++
		}
		switch {
		case head == i: // a word
			text = append(text, value[start:i]...)
		case i == digits && (head == start || !headHex): // 123, u123
			text = append(append(text, value[start:head]...), fieldMark)
			vars = append(vars, value[head:i])
		case i == tail && head == start && tail-digits <= 6 && !tailHex: // 12ms
			text = append(append(text, fieldMark), value[digits:i]...)
			vars = append(vars, value[start:digits])
		default:
			text = append(text, fieldMark)
			vars = append(vars, value[start:i])
		}
	}
	return text, vars
}

// isUUIDAt says whether a UUID in one case stands at i with no letter or digit
// behind it; i is the start of a run.
func isUUIDAt(s string, i int) bool {
	if len(s)-i < 36 || s[i+8] != '-' || s[i+13] != '-' {
		return false
	}
	if len(s)-i > 36 && class[s[i+36]]&(clsDigit|clsAlpha) != 0 {
		return false
	}
	return isUUID(s[i : i+36])
}

// isUUID says whether s, 36 bytes, is a UUID in lower or in upper case.
func isUUID(s string) bool {
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	and := byte(clsLower | clsUpper)
	for i := 0; i < 36; i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		and &= class[s[i]]
	}
	return and != 0
}
