package chunk

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

const twoDigits = "00010203040506070809" +
	"10111213141516171819" + "20212223242526272829" + "30313233343536373839" +
	"40414243444546474849" + "50515253545556575859" + "60616263646566676869" +
	"70717273747576777879" + "80818283848586878889" + "90919293949596979899"

// append2 writes two digits; 0 <= v < 100.
func append2(dst []byte, v int) []byte {
	return append(dst, twoDigits[2*v], twoDigits[2*v+1])
}

var pow10u = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// decimalLen is the number of decimal digits of v.
func decimalLen(v uint64) int {
	n := (bits.Len64(v|1) * 1233) >> 12
	if v >= pow10u[n] {
		n++
	}
	return max(n, 1)
}

// appendUint writes v in decimal.
func appendUint(dst []byte, v uint64) []byte {
	if v < 10 {
		return append(dst, byte('0'+v))
	}
	return appendPadded(dst, v, decimalLen(v))
}

// appendPadded writes the last width digits of v, with leading zeros; width <= 20.
func appendPadded(dst []byte, v uint64, width int) []byte {
	dst = extend(dst, width)
	out := dst[len(dst)-width:]
	i := width
	for i >= 2 {
		i -= 2
		q := v / 100
		r := 2 * (v - q*100)
		out[i], out[i+1] = twoDigits[r], twoDigits[r+1]
		v = q
	}
	if i == 1 {
		out[0] = byte('0' + v%10)
	}
	return dst
}

// hexPairs are the two digits of each byte, the first in the low half.
type hexPairs [256]uint16

func makeHexPairs(digits string) (t hexPairs) {
	for i := range t {
		t[i] = uint16(digits[i>>4]) | uint16(digits[i&15])<<8
	}
	return t
}

var (
	lowerHex = makeHexPairs("0123456789abcdef")
	upperHex = makeHexPairs("0123456789ABCDEF")
)

// extend returns dst longer by n bytes of undefined content.
func extend(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		dst = slices.Grow(dst, n)
	}
	return dst[:len(dst)+n]
}

// putHex writes b in hexadecimal to out, which is twice as long.
func putHex(out, b []byte, t *hexPairs) {
	for _, x := range b {
		binary.LittleEndian.PutUint16(out, t[x])
		out = out[2:]
	}
}

// appendHex writes b in hexadecimal.
func appendHex(dst, b []byte, t *hexPairs) []byte {
	dst = extend(dst, 2*len(b))
	putHex(dst[len(dst)-2*len(b):], b, t)
	return dst
}

// appendUUID writes 16 bytes in the form 8-4-4-4-12.
func appendUUID(dst, b []byte, t *hexPairs) []byte {
	dst = extend(dst, 36)
	out := dst[len(dst)-36:]
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	putHex(out[0:], b[0:4], t)
	putHex(out[9:], b[4:6], t)
	putHex(out[14:], b[6:8], t)
	putHex(out[19:], b[8:10], t)
	putHex(out[24:], b[10:16], t)
	return dst
}

// Flags of hexDigit beside the value in the low half.
const (
	hexLower   = 0x10 // a-f
	hexUpper   = 0x20 // A-F
	hexInvalid = 0x80
)

// hexDigit tells value and kind of each digit.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		switch c := byte(i); {
		case c >= '0' && c <= '9':
			t[i] = c - '0'
		case c >= 'a' && c <= 'f':
			t[i] = hexLower | (c - 'a' + 10)
		case c >= 'A' && c <= 'F':
			t[i] = hexUpper | (c - 'A' + 10)
		default:
			t[i] = hexInvalid
		}
	}
	return t
}()

// packHex appends the bytes of hexadecimal digits; flags tell what kinds of
// digits there were. A last odd digit is left out.
func packHex(dst []byte, s string) (_ []byte, flags byte) {
	for i := 0; i+1 < len(s); i += 2 {
		hi, lo := hexDigit[s[i]], hexDigit[s[i+1]]
		flags |= hi | lo
		dst = append(dst, hi<<4|lo&15)
	}
	return dst, flags &^ 15
}
