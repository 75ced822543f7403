package chunk

import "bytes"

// MayContain is false only if some needle certainly occurs in no line of the
// block: the block need not be decoded for a reader that wants all needles in
// a line. Needles are byte strings; an empty one occurs everywhere. It reads
// text sections only.
func (b *Block) MayContain(needles []string) (bool, error) {
	d, err := getDecoder()
	if err != nil {
		return false, err
	}
	defer putDecoder(d)
	p, err := b.section(SectionRaw)
	if err != nil {
		return false, err
	}
	text, err := unpack(d.zstd, &d.raw, p, SectionRaw, b.h.rawBytes)
	if err != nil {
		return false, err
	}
	for _, n := range needles {
		if !bytes.Contains(text, []byte(n)) {
			return false, nil
		}
	}
	return true, nil
}
