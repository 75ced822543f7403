package podlogs

import (
	"bytes"
	"reflect"
	"testing"
)

func TestSharedPositionRoundTrip(t *testing.T) {
	for _, p := range []position{
		{}, {instance: "a", restart: 3}, {instance: "a", taken: true, anchor: anchor{ts: -1, hash: 2, ordinal: 3}}, {instance: "a", done: true, last: true},
	} {
		for _, epoch := range []int64{0, 1, 1 << 62} {
			got, e, err := decodeShared(p.encodeShared(epoch))
			if err != nil || got != p || e != epoch {
				t.Errorf("%+v of epoch %d came back as %+v, %d, %v", p, epoch, got, e, err)
			}
		}
	}
}

func goodCopy() copied {
	p := position{instance: "abc", anchor: anchor{ts: 1, hash: 2, ordinal: 1}}
	return copied{origin: "logstack-1", node: "n", stamp: 5, emptyAt: 4, late: true, position: p.encodeShared(7), through: p.encode()}
}

func TestCopyRoundTrip(t *testing.T) {
	for _, c := range []copied{goodCopy(), {position: (&position{}).encode(), through: []byte{}}} {
		got, err := decodeCopy(c.encode())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
	}
}

func TestDecodeCopyRefuses(t *testing.T) {
	c := goodCopy()
	good := c.encode()
	for name, b := range map[string][]byte{
		"version":  append([]byte{9}, good[1:]...),
		"flags":    append([]byte{1, 0x80}, good[2:]...),
		"too long": append(bytes.Clone(good), 0),
	} {
		if c, err := decodeCopy(b); err == nil {
			t.Errorf("%s: no error, but %+v", name, c)
		}
	}
	for n := range good {
		if _, err := decodeCopy(good[:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
}

func FuzzDecodeCopy(f *testing.F) {
	c := goodCopy()
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCopy(b)
		if err != nil {
			return
		}
		again, err := decodeCopy(c.encode())
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v came back as %+v, %v", c, again, err)
		}
	})
}
