package lokiapi

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

// streamInfo is what the decoder knows about a stream, found by the text that
// was pushed for its labels. It is immutable.
type streamInfo struct {
	labels labels.Labels
	// level is the severity that a stream label gives to every entry, "" if
	// none, and common is that as metadata.
	level  string
	common labels.Labels
	// addLevels is false when entries get no detected_level.
	addLevels bool
	// refused is set when the labels break a limit; Message then says why.
	refused Reason
	message string
}

// Bounds of a cache generation: entries, and bytes of the keys.
const (
	maxCachedStreams = 4096
	maxCachedBytes   = 1 << 20
)

// streamCache maps label text to streams. It keeps two generations: when the
// young one is full it becomes the old one, and the former old one is dropped,
// so a stream that is still pushed survives and memory stays bounded.
type streamCache struct {
	mu         sync.RWMutex
	young, old map[string]*streamInfo
	youngBytes int
}

func newStreamCache() *streamCache {
	return &streamCache{young: map[string]*streamInfo{}}
}

// get looks up text without keeping it.
func (c *streamCache) get(text []byte) *streamInfo {
	c.mu.RLock()
	info, ok := c.young[string(text)]
	if !ok {
		info = c.old[string(text)]
	}
	c.mu.RUnlock()
	if !ok && info != nil {
		c.put(string(text), info)
	}
	return info
}

func (c *streamCache) put(text string, info *streamInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= maxCachedStreams || c.youngBytes+len(text) > maxCachedBytes {
		c.old, c.young, c.youngBytes = c.young, map[string]*streamInfo{}, 0
	}
	if _, ok := c.young[text]; !ok {
		c.young[text] = info
		c.youngBytes += len(text)
	}
}

// newStream applies the rules for labels: service_name is added, and labels
// that break a limit make the stream a refused one.
func (d *Decoder) newStream(ls labels.Labels) *streamInfo {
	l := &d.limits
	info := &streamInfo{labels: ls}
	names := ls.Len()
	if name := l.serviceName(ls); name != "" {
		info.labels = labels.NewBuilder(ls).Set("service_name", name).Labels()
	} else if ls.Has("service_name") {
		names--
	}
	switch {
	case info.labels.IsEmpty():
		info.refuse(ReasonMissingLabels, "error at least one label pair is required per stream")
	case names > l.MaxLabelNames:
		info.refuse(ReasonTooManyLabels, "entry for stream '%s' has %d label names; the limit is %d",
			shortLabels(info.labels), names, l.MaxLabelNames)
	}
	ls.Range(func(p labels.Label) {
		switch {
		case info.refused != "":
		case len(p.Name) > l.MaxLabelName:
			info.refuse(ReasonLabelNameTooLong, "label name %s has %d bytes; the limit is %d",
				quoteShort(p.Name), len(p.Name), l.MaxLabelName)
		case len(p.Value) > l.MaxLabelValue:
			info.refuse(ReasonLabelValueTooLong, "value of label %s has %d bytes; the limit is %d: %s",
				quoteShort(p.Name), len(p.Value), l.MaxLabelValue, quoteShort(p.Value))
		}
	})
	if !l.NoLevels && !info.labels.Has(LevelName) { // metadata of that name would only collide
		info.addLevels = true
		if info.level = d.levels.streamLevel(info.labels); info.level != "" {
			info.common = labels.FromStrings(LevelName, info.level)
		}
	}
	return info
}

// badStream is the stream of labels that cannot be used, or the error that the
// whole push fails with.
func badStream(err error) (*streamInfo, error) {
	var bad *LabelsError
	if !errors.As(err, &bad) || bad.Duplicate == "" {
		return nil, err
	}
	info := &streamInfo{}
	info.refuse(ReasonDuplicateLabels, "stream '%s' has duplicate label name: %s", cut(bad.Text), quoteShort(bad.Duplicate))
	return info, nil
}

func (s *streamInfo) refuse(reason Reason, format string, args ...any) {
	s.refused, s.message = reason, fmt.Sprintf(format, args...)
}

// metadataOf is the metadata of an entry that was pushed without any.
func (s *streamInfo) metadataOf(v *Levels, line string) labels.Labels {
	switch {
	case !s.addLevels:
		return labels.EmptyLabels()
	case s.level != "":
		return s.common
	}
	return levelMetadata[v.Detect(line)]
}

// serviceName discovers the name of a stream's service, "" if it is set
// already or the discovery is off.
func (l *Limits) serviceName(ls labels.Labels) string {
	if len(l.ServiceNameLabels) == 0 || ls.Has("service_name") {
		return ""
	}
	for _, name := range l.ServiceNameLabels {
		if v := ls.Get(name); v != "" {
			return v
		}
	}
	return "unknown_service"
}
