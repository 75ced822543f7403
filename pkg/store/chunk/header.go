package chunk

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	magic         = "LSCB"
	formatVersion = 1

	modeColumns = 0
	modePlain   = 1

	// flagLettersWhole is the promise that MayContain builds on, see the package
	// comment.
	flagLettersWhole = 1 << 0

	headerFixed  = 4 + 1 + 1 + 1 + 1 + 4 + 4 + 4 + 8 + 8
	sectionEntry = 1 + 4 + 4
	headerCRC    = 4
	maxHeader    = headerFixed + (numSections-1)*sectionEntry + headerCRC
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the decoded block header.
type header struct {
	mode, flags      byte
	rows             int
	rawBytes         int
	metaBytes        int
	minTime, maxTime int64
	offset, length   [numSections]int
	crc              [numSections]uint32
	present          [numSections]bool
	headerLen        int
}

// appendHeader writes the header of a block whose sections are parts.
func appendHeader(dst []byte, h *header, parts *[numSections][]byte) []byte {
	start := len(dst)
	n := 0
	for _, p := range parts {
		if len(p) > 0 {
			n++
		}
	}
	dst = append(dst, magic...)
	dst = append(dst, formatVersion, h.mode, h.flags, byte(n))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.rows))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.rawBytes))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.metaBytes))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.minTime))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.maxTime))
	for s, p := range parts {
		if len(p) == 0 {
			continue
		}
		dst = append(dst, byte(s))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p)))
		dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(p, castagnoli))
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseHeader reads the header at the start of buf, a prefix of the block of
// at least min(size, maxHeader) bytes.
func parseHeader(buf []byte, size int) (*header, error) {
	corrupt := func(off int, reason string) (*header, error) {
		return nil, &CorruptError{Section: SectionHeader, Offset: off, Reason: reason}
	}
	if len(buf) < headerFixed+headerCRC {
		return corrupt(len(buf), "ends too early")
	}
	if string(buf[:4]) != magic {
		return corrupt(0, "is not a chunk block")
	}
	if buf[4] != formatVersion || buf[5] > modePlain {
		return nil, &VersionError{Version: buf[4], Mode: buf[5]}
	}
	n := int(buf[7])
	h := &header{
		mode: buf[5], flags: buf[6],
		rows:      int(binary.LittleEndian.Uint32(buf[8:])),
		rawBytes:  int(binary.LittleEndian.Uint32(buf[12:])),
		metaBytes: int(binary.LittleEndian.Uint32(buf[16:])),
		minTime:   int64(binary.LittleEndian.Uint64(buf[20:])),
		maxTime:   int64(binary.LittleEndian.Uint64(buf[28:])),
		headerLen: headerFixed + n*sectionEntry + headerCRC,
	}
	if n >= numSections || len(buf) < h.headerLen {
		return corrupt(7, "bad number of sections")
	}
	crcAt := h.headerLen - headerCRC
	if crc32.Checksum(buf[:crcAt], castagnoli) != binary.LittleEndian.Uint32(buf[crcAt:]) {
		return corrupt(crcAt, "checksum does not match")
	}
	if h.rows == 0 || h.rows > MaxRows || h.rawBytes > MaxRawBytes || h.metaBytes > MaxMetadataBytes || h.minTime > h.maxTime {
		return corrupt(8, "counts out of range")
	}
	at, last := h.headerLen, 0
	for i := range n {
		e := buf[headerFixed+i*sectionEntry:]
		s, l := int(e[0]), int(binary.LittleEndian.Uint32(e[1:]))
		if s <= last || s >= numSections || l == 0 || l > size-at {
			return corrupt(headerFixed+i*sectionEntry, "bad section table")
		}
		h.offset[s], h.length[s], h.crc[s], h.present[s] = at, l, binary.LittleEndian.Uint32(e[5:]), true
		at += l
		last = s
	}
	if at != size {
		return corrupt(headerFixed, "sections do not fill the block")
	}
	return h, nil
}
