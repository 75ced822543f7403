package stage

import (
	"net/netip"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// maxAddrLen is the longest text of an address: IPv6 with an embedded IPv4.
const maxAddrLen = 45

// addrByte says what an address can be made of: 1 for digits and hexadecimal
// letters, 2 for separators.
var addrByte = func() (t [256]uint8) {
	for _, c := range "0123456789abcdefABCDEF" {
		t[c] = 1
	}
	t['.'], t[':'] = 2, 2
	return t
}()

// holdsAddr says whether s holds an address inside r.
func holdsAddr(s string, r logql.IPRange) bool {
	return eachAddr(s, r.Contains)
}

// eachAddr calls f for the addresses in s until it returns true: words of
// hexadecimal digits, dots and colons that parse as an address. A port behind
// an IPv4 address and punctuation at the end of a word are set aside.
func eachAddr(s string, f func(netip.Addr) bool) bool {
	for i := 0; i < len(s); {
		if addrByte[s[i]] == 0 {
			i++
			continue
		}
		end, dots, colons := i, 0, 0
		for end < len(s) && addrByte[s[end]] != 0 {
			switch s[end] {
			case '.':
				dots++
			case ':':
				colons++
			}
			end++
		}
		if (dots >= 3 || colons >= 2) && eachAddrInWord(s[i:end], f) {
			return true
		}
		i = end
	}
	return false
}

// eachAddrInWord tries the word, then the word without what may follow an
// address in prose or behind a host.
func eachAddrInWord(w string, f func(netip.Addr) bool) bool {
	for len(w) > 0 {
		if len(w) <= maxAddrLen {
			if a, err := netip.ParseAddr(w); err == nil {
				return f(a)
			}
		}
		cut := len(w) - 1
		for cut > 0 && addrByte[w[cut]] != 2 {
			cut--
		}
		w = w[:cut]
	}
	return false
}
