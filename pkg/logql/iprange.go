package logql

import (
	"fmt"
	"net/netip"
	"strings"
)

// IPRange is a closed interval of addresses of one family. IPv4 addresses are
// held as IPv4, also those written as IPv4-mapped IPv6.
type IPRange struct {
	From, To netip.Addr
}

// ParseIPRange reads the text of ip("…"): an address, a prefix
// ("10.0.0.0/8", host bits may be set) or two addresses with "-" between.
func ParseIPRange(text string) (IPRange, error) {
	text = strings.TrimSpace(text)
	if from, to, ok := strings.Cut(text, "-"); ok {
		a, errA := netip.ParseAddr(strings.TrimSpace(from))
		b, errB := netip.ParseAddr(strings.TrimSpace(to))
		if errA != nil || errB != nil {
			return IPRange{}, fmt.Errorf("%q is not a range of addresses such as 10.0.0.1-10.0.0.9", text)
		}
		r := IPRange{From: plainAddr(a), To: plainAddr(b)}
		if r.From.BitLen() != r.To.BitLen() || r.To.Less(r.From) {
			return IPRange{}, fmt.Errorf("the range %q is empty or mixes IPv4 and IPv6", text)
		}
		return r, nil
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return IPRange{}, fmt.Errorf("%q is not a prefix such as 10.0.0.0/8", text)
		}
		return prefixRange(p), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return IPRange{}, fmt.Errorf("%q is not an address, a prefix (10.0.0.0/8) or a range (10.0.0.1-10.0.0.9)", text)
	}
	return IPRange{From: plainAddr(a), To: plainAddr(a)}, nil
}

// plainAddr drops what does not change which address is meant.
func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// prefixRange returns the first and the last address of p.
func prefixRange(p netip.Prefix) IPRange {
	from := p.Masked().Addr()
	bytes := from.AsSlice()
	for bit := p.Bits(); bit < from.BitLen(); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	to, _ := netip.AddrFromSlice(bytes) // 4 or 16 bytes, as AsSlice gave them
	if from.Is4In6() && p.Bits() >= 96 {
		from, to = from.Unmap(), to.Unmap()
	}
	return IPRange{From: from, To: to}
}

// Contains says whether a lies in the range. A zone is ignored.
func (r IPRange) Contains(a netip.Addr) bool {
	a = plainAddr(a)
	return a.BitLen() == r.From.BitLen() && !a.Less(r.From) && !r.To.Less(a)
}
