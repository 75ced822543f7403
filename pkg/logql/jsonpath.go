package logql

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// PathElement is one step into a JSON value: a key of an object or, where Key
// does not hold, an index of an array.
type PathElement struct {
	Key string
	// Index counts from 0; only where IsIndex.
	Index   int
	IsIndex bool
}

// ParseJSONPath reads the expression of a json extraction: a.b[0]["k k"].c.
// A bare key ends at ".", "[" or "]"; keys with those, blanks or quotes are written
// ["…"], with the escapes of a JSON or Go string.
func ParseJSONPath(text string) ([]PathElement, error) {
	if text == "" {
		return nil, errors.New("empty path")
	}
	var path []PathElement
	for i := 0; i < len(text); {
		var (
			el  PathElement
			n   int
			err error
		)
		switch {
		case text[i] == '[':
			el, n, err = bracketElement(text[i:])
		case text[i] == '.' && len(path) > 0:
			el, n, err = keyElement(text[i+1:])
			n++
		case len(path) == 0:
			el, n, err = keyElement(text[i:])
		default:
			err = fmt.Errorf("unexpected %q, expecting . or [", text[i])
		}
		if err != nil {
			return nil, fmt.Errorf("at byte %d: %w", i, err)
		}
		path = append(path, el)
		i += n
	}
	return path, nil
}

func keyElement(text string) (PathElement, int, error) {
	n := strings.IndexAny(text, ".[]\"' \t\r\n")
	if n < 0 {
		n = len(text)
	}
	if n == 0 {
		return PathElement{}, 0, errors.New("a key is missing")
	}
	return PathElement{Key: text[:n]}, n, nil
}

func bracketElement(text string) (PathElement, int, error) {
	if len(text) > 1 && text[1] == '"' {
		quoted, err := strconv.QuotedPrefix(text[1:])
		if err != nil {
			return PathElement{}, 0, errors.New("the quoted key does not end")
		}
		end := 1 + len(quoted)
		if end >= len(text) || text[end] != ']' {
			return PathElement{}, 0, errors.New("missing closing ']'")
		}
		key, err := strconv.Unquote(quoted)
		if err != nil {
			return PathElement{}, 0, fmt.Errorf("quoted key %s: %w", quoted, err)
		}
		return PathElement{Key: key}, end + 1, nil
	}
	end := strings.IndexByte(text, ']')
	if end < 0 {
		return PathElement{}, 0, errors.New("missing closing ']'")
	}
	index, err := strconv.ParseUint(text[1:end], 10, 31)
	if err != nil {
		return PathElement{}, 0, fmt.Errorf("%q is neither an index nor a quoted key", text[1:end])
	}
	return PathElement{Index: int(index), IsIndex: true}, end + 1, nil
}
