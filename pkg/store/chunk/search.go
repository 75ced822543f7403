package chunk

import (
	"bytes"
)

const (
	// minWord is the length of letter runs that the search relies on; shorter
	// ones may be names of months or zones inside a time layout.
	minWord = 4
	// minPackedNeedle is the shortest run that is looked for among packed
	// identifiers; shorter ones occur by chance.
	minPackedNeedle = 6
)

// probe is a piece of a needle that has to be somewhere in the block.
type probe struct {
	text string
	// hex: may also be packed.
	hex bool
	// fold: text is letters in lower case, looked for in any case, by the one at
	// rare.
	fold bool
	rare int
}

// MayContain is false only if some needle certainly occurs in no line of the
// block: then a reader that wants all needles in a line need not decode it.
// Needles are byte strings with the meaning of strings.Contains; an empty one
// occurs everywhere. It reads texts and identifiers only, and no metadata.
func (b *Block) MayContain(needles []string) (bool, error) {
	d, err := getDecoder()
	if err != nil {
		return false, err
	}
	defer putDecoder(d)
	s := searcher{b: b, d: d}
	if b.h.mode == modePlain {
		for _, n := range needles {
			if ok, err := s.inSection(SectionRaw, n); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	if b.h.flags&flagLettersWhole == 0 {
		return true, nil
	}
	var buf [16]probe
	probes := buf[:0]
	for _, n := range needles {
		probes = appendProbes(probes, n)
	}
	for _, p := range probes {
		if ok, err := s.find(p); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// appendProbes cuts a needle into the pieces that the format promises to keep
// whole, see "Search" in the package comment.
func appendProbes(dst []probe, needle string) []probe {
	for i := 0; i < len(needle); {
		if class[needle[i]]&(clsAlpha|clsDigit) == 0 {
			i++
			continue
		}
		start, letters, changes := i, 0, 0
		hex := byte(clsLower | clsUpper)
		for i < len(needle) && class[needle[i]]&(clsAlpha|clsDigit) != 0 {
			c := class[needle[i]]
			hex &= c
			if c&clsAlpha != 0 {
				letters++
			}
			if i > start && (c^class[needle[i-1]])&clsAlpha != 0 {
				changes++
			}
			i++
		}
		run := needle[start:i]
		switch {
		case changes >= 2 && !(letters == 1 && bytes.IndexByte([]byte(run), 'T') >= 0):
			dst = append(dst, probe{text: run, hex: hex != 0})
		default:
			dst = appendWords(dst, run)
		}
	}
	return dst
}

// appendWords adds the letter runs of run that cannot be part of an identifier.
func appendWords(dst []probe, run string) []probe {
	for i := 0; i < len(run); i++ {
		start, hex := i, byte(clsLower|clsUpper)
		for i < len(run) && class[run[i]]&clsAlpha != 0 {
			// Letters of either case: AbCd is hexadecimal as a word, too.
			hex &= class[run[i]] | class[run[i]^0x20]
			i++
		}
		if i-start >= minWord && hex == 0 {
			dst = append(dst, probe{text: run[start:i]})
		}
	}
	return dst
}

// searcher looks for probes and unpacks each section once.
type searcher struct {
	b    *Block
	d    *Decoder
	text [numSections][]byte
	have [numSections]bool
}

func (s *searcher) find(p probe) (bool, error) {
	for _, sec := range [...]Section{SectionText, SectionRaw} {
		if ok, err := s.inSection(sec, p.text); ok || err != nil {
			return ok, err
		}
	}
	if !p.hex || !s.b.h.present[SectionIDs] {
		return false, nil
	}
	if len(p.text) < minPackedNeedle {
		return true, nil
	}
	ids, err := s.b.section(SectionIDs)
	if err != nil {
		return false, err
	}
	return containsPacked(ids, p.text), nil
}

func (s *searcher) inSection(sec Section, needle string) (bool, error) {
	if !s.have[sec] {
		p, err := s.b.section(sec)
		if err != nil {
			return false, err
		}
		buf, limit := &s.d.raw, s.b.h.rawBytes
		if sec == SectionText {
			buf, limit = &s.d.text, textLimit(s.b.h.rawBytes)
		}
		if s.text[sec], err = unpack(s.d.zstd, buf, p, sec, limit); err != nil {
			return false, err
		}
		s.have[sec] = true
	}
	return bytes.Contains(s.text[sec], []byte(needle)), nil
}

// containsPacked says whether the hexadecimal digits occur in packed
// identifiers, at either alignment.
func containsPacked(ids []byte, digits string) bool {
	var buf [64]byte
	for shift := range 2 {
		// digits[shift:] begins at a whole byte.
		whole, _ := packHex(buf[:0], digits[shift:])
		last, odd := byte(0), (len(digits)-shift)%2 == 1
		if odd {
			last = hexDigit[digits[len(digits)-1]] & 15
		}
		for from := 0; ; {
			i := bytes.Index(ids[from:], whole)
			if i < 0 {
				break
			}
			at := from + i
			end := at + len(whole)
			if (shift == 0 || at > 0 && ids[at-1]&15 == hexDigit[digits[0]]&15) &&
				(!odd || end < len(ids) && ids[end]>>4 == last) {
				return true
			}
			from = at + 1
		}
	}
	return false
}
