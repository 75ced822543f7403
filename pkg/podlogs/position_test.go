package podlogs

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

func TestPositionRoundTrip(t *testing.T) {
	for name, p := range map[string]position{
		"zero":             {},
		"started":          {instance: "0123456789ab", restart: 7},
		"anchor":           {instance: "a", anchor: anchor{ts: time.Now().UnixNano(), hash: 1 << 63, ordinal: 3}},
		"before the epoch": {instance: "a", anchor: anchor{ts: -5, hash: 0, ordinal: 1}},
		"done":             {instance: "a", done: true, last: true, anchor: anchor{ts: 1, ordinal: 1 << 31}},
	} {
		got, err := decodePosition(p.encode())
		if err != nil || got != p {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, p)
		}
	}
}

func TestDecodePositionRefuses(t *testing.T) {
	good := (&position{instance: "abc", anchor: anchor{ts: 1, hash: 2, ordinal: 1}}).encode()
	for name, b := range map[string][]byte{
		"empty":          {},
		"version":        append([]byte{9}, good[1:]...),
		"flags":          append([]byte{1, 0x80}, good[2:]...),
		"too long":       append(bytes.Clone(good), 0),
		"ordinal 0":      append(bytes.Clone(good[:len(good)-1]), 0),
		"string too big": {1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a'},
	} {
		if p, err := decodePosition(b); err == nil {
			t.Errorf("%s: no error, but %+v", name, p)
		}
	}
	for n := range good {
		if _, err := decodePosition(good[:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
}

func FuzzDecodePosition(f *testing.F) {
	f.Add((&position{instance: "abc", restart: 2, done: true, anchor: anchor{ts: 1, hash: 2, ordinal: 1}}).encode())
	f.Add([]byte{1, 2})
	f.Add((&position{instance: "abc", anchor: anchor{ts: 1, hash: 2, ordinal: 1}, file: filePos{id: 3, off: 4, seenID: 5, seen: 6, split: true}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePosition(b)
		if err != nil {
			return
		}
		again, err := decodePosition(p.encode())
		if err != nil || again != p {
			t.Errorf("%+v came back as %+v, %v", p, again, err)
		}
	})
}

func FuzzDecodeLabels(f *testing.F) {
	f.Add(encodeLabels(labels.FromStrings("app", "x", "pod", "y")))
	f.Fuzz(func(t *testing.T, b []byte) {
		ls, err := decodeLabels(b)
		if err != nil {
			return
		}
		again, err := decodeLabels(encodeLabels(ls))
		if err != nil || !labels.Equal(again, ls) {
			t.Errorf("%s came back as %s, %v", ls, again, err)
		}
	})
}

func TestMarkKeys(t *testing.T) {
	k := targetKey{uid: "u-1", container: "main"}
	sameName := targetKey{uid: "u-1", container: "labels"}
	for key, want := range map[string]struct {
		k        targetKey
		isLabels bool
		ok       bool
	}{
		k.mark():              {k, false, true},
		k.labelsMark():        {k, true, true},
		sameName.mark():       {sameName, false, true},
		sameName.labelsMark(): {sameName, true, true},
		"podlogs/u-1/labels":  {sameName, false, true}, // as stored ever since
		"other/u-1/main":      {},
		"podlogs/u-1":         {},
		"podlogs/u-1/a/b":     {},
		"podlogs/u-1/":        {},
		"podlogs/u-1//labels": {},
		"podlogs//main":       {},
		"podlogs//labels":     {},
	} {
		got, isLabels, ok := parseMarkKey(key)
		if ok != want.ok || ok && (got != want.k || isLabels != want.isLabels) {
			t.Errorf("%q: got %v, %v, %v", key, got, isLabels, ok)
		}
	}
	if diff := cmp.Diff("0123456789ab", shortID("containerd://0123456789abcdef")); diff != "" {
		t.Error(diff)
	}
}

// Positions of collectors that knew no files stay readable, byte for byte, and
// are still written so.
func TestPositionVersions(t *testing.T) {
	old := position{instance: "0123456789ab", restart: 3, anchor: anchor{ts: 1, hash: 2, ordinal: 1}}
	bytes1 := []byte("\x01\x02\x0c0123456789ab\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x01")
	if got, err := decodePosition(bytes1); err != nil || got != old {
		t.Errorf("%+v, %v", got, err)
	}
	if got := old.encode(); !bytes.Equal(got, bytes1) {
		t.Errorf("%q", got)
	}
	for _, f := range []filePos{
		{id: 5, off: 100, seenID: 5, seen: 300},
		{id: 5, off: 100, seenID: 5, seen: 100, split: true},
		{id: 5, off: 1 << 40, seenID: 1 << 63, seen: 7},
	} {
		p := old
		p.file = f
		b := p.encode()
		if got, err := decodePosition(b); err != nil || got != p || b[0] != 2 {
			t.Errorf("%+v, %v, want %+v", got, err, p)
		}
		for n := range b {
			if _, err := decodePosition(b[:n]); err == nil {
				t.Errorf("cut to %d bytes: no error", n)
			}
		}
		b[0] = 1
		if _, err := decodePosition(b); err == nil {
			t.Error("version 1 with a place in files passes")
		}
	}
}
