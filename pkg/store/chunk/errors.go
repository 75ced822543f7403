package chunk

import "fmt"

// Section names a part of a chunk block.
type Section uint8

// The sections, by their number in the section table.
const (
	SectionHeader Section = iota
	SectionStreams
	SectionTimes
	SectionLens
	SectionMeta
	SectionText
	SectionRaw
	SectionIDs
	SectionData
	SectionMetadata

	numSections = int(SectionMetadata) + 1
)

var sectionNames = [numSections]string{
	"header", "streams", "times", "lens", "meta", "text", "raw", "ids", "data", "metadata",
}

// String returns the section's name in lower case.
func (s Section) String() string {
	if int(s) < len(sectionNames) {
		return sectionNames[s]
	}
	return fmt.Sprintf("section %d", uint8(s))
}

// CorruptError says that a chunk block is damaged: its bytes are not what an
// encoder wrote. The rows of the block are lost; nothing else is affected.
type CorruptError struct {
	// Section is where the damage was noticed.
	Section Section
	// Offset is the position inside the section, after decompression for packed
	// sections; -1 when no single place can be named.
	Offset int
	// Reason is what was found.
	Reason string
}

// Error names section, offset and reason.
func (e *CorruptError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("chunk block is damaged: %s: %s", e.Section, e.Reason)
	}
	return fmt.Sprintf("chunk block is damaged: %s at offset %d: %s", e.Section, e.Offset, e.Reason)
}

// VersionError says that a block was written by a newer program.
type VersionError struct {
	// Version and Mode are what the header names.
	Version, Mode uint8
}

// Error says what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("chunk block has format version %d mode %d, this program reads version %d modes 0 and 1: read it with the newer program that wrote it",
		e.Version, e.Mode, formatVersion)
}

// LimitError says that rows do not fit into one chunk block. The caller cuts
// them into several blocks, or refuses a line that does not fit alone.
type LimitError struct {
	// What is "rows", "line bytes", "metadata bytes", "metadata pairs" or
	// "metadata pairs in a row".
	What string
	// Have is what was asked for, Max what fits.
	Have, Max int
}

// Error names what is too large.
func (e *LimitError) Error() string {
	return fmt.Sprintf("chunk block cannot hold %d %s, at most %d", e.Have, e.What, e.Max)
}
