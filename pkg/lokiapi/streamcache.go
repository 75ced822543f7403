package lokiapi

import (
	"fmt"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

// streamInfo is what the decoder knows about a stream, found by the text that
// was pushed for its labels. It is immutable.
type streamInfo struct {
	labels labels.Labels
	// level is the severity that a stream label gives to every entry, "" if none.
	level string
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
func (l *Limits) newStream(ls labels.Labels) *streamInfo {
	info := &streamInfo{labels: ls}
	names := ls.Len()
	if name := l.serviceName(ls); name != "" {
		info.labels = labels.NewBuilder(ls).Set("service_name", name).Labels()
	} else if ls.Has("service_name") {
		names--
	}
	switch {
	case info.labels.IsEmpty():
		info.refused = ReasonMissingLabels
		info.message = "error at least one label pair is required per stream"
	case names > l.MaxLabelNames:
		info.refused = ReasonTooManyLabels
		info.message = fmt.Sprintf("entry for stream '%s' has %d label names; the limit is %d",
			info.labels, names, l.MaxLabelNames)
	}
	ls.Range(func(p labels.Label) {
		switch {
		case info.refused != "":
		case len(p.Name) > l.MaxLabelName:
			info.refused = ReasonLabelNameTooLong
			info.message = fmt.Sprintf("label name %s has %d bytes; the limit is %d",
				quoteShort(p.Name), len(p.Name), l.MaxLabelName)
		case len(p.Value) > l.MaxLabelValue:
			info.refused = ReasonLabelValueTooLong
			info.message = fmt.Sprintf("value of label %s has %d bytes; the limit is %d: %s",
				quoteShort(p.Name), len(p.Value), l.MaxLabelValue, quoteShort(p.Value))
		}
	})
	if !l.NoLevels {
		info.level, info.addLevels = streamLevel(info.labels)
	}
	return info
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
