package chunk

import "math/bits"

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
	const zeros = "00000000000000000000"
	dst = append(dst, zeros[:width]...)
	out := dst[len(dst)-width:]
	i := width
	for i >= 2 && v > 0 {
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

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)

// appendHex writes b in hexadecimal with the given digits.
func appendHex(dst []byte, b []byte, digits string) []byte {
	_ = digits[15]
	for _, x := range b {
		dst = append(dst, digits[x>>4], digits[x&15])
	}
	return dst
}

// appendUUID writes 16 bytes in the form 8-4-4-4-12.
func appendUUID(dst []byte, b []byte, digits string) []byte {
	dst = append(appendHex(dst, b[0:4], digits), '-')
	dst = append(appendHex(dst, b[4:6], digits), '-')
	dst = append(appendHex(dst, b[6:8], digits), '-')
	dst = append(appendHex(dst, b[8:10], digits), '-')
	return appendHex(dst, b[10:16], digits)
}
