package sharing

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// ranking orders members for keys by rendezvous hashing: each member has a score
// for each key, and the highest takes it. When a member comes or goes only the
// keys that it takes or had move.
type ranking struct {
	names []string
	seeds []uint64 // one per name
}

func newRanking(names []string) ranking {
	r := ranking{names: slices.Sorted(slices.Values(names))}
	for _, n := range r.names {
		r.seeds = append(r.seeds, mix(xxhash.Sum64String(n)))
	}
	return r
}

// best returns the first and the second member for a key, "" where there is none.
func (r *ranking) best(key uint64) (first, second string) {
	var high, next uint64
	for i, seed := range r.seeds {
		switch score := mix(seed ^ key); {
		case first == "" || score > high:
			second, next = first, high
			first, high = r.names[i], score
		case second == "" || score > next:
			second, next = r.names[i], score
		}
	}
	return first, second
}

// mix is the finalizer of SplitMix64: every bit of the answer depends on every
// bit of x. Replicas of all versions must agree on it.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

const (
	// unitsPerMember is how many units of work there are at least for each
	// member, so that chance divides them evenly enough.
	unitsPerMember = 32
	maxSplits      = 4096
)

// splits is into how many units the pods of one node are divided: a power of two.
// All pods of a node belong together where nodes are many, since what is allowed
// to be done at one node is counted by each member for itself. Where they are
// few, each unit holds a part of the pods. Doubling the splits divides each unit
// in two, of which one stays where it was.
func splits(nodes, members int) int {
	n := 1
	for n < maxSplits && n*max(nodes, 1) < unitsPerMember*members && members > 1 {
		n *= 2
	}
	return n
}

// podKey is the unit of a pod.
func podKey(node, uid string, splits int) uint64 {
	bucket := xxhash.Sum64String(uid) & uint64(splits-1)
	return mix(xxhash.Sum64String(node) + bucket*0x9e3779b97f4a7c15)
}

// nameKey is the key of something there is only one of.
func nameKey(name string) uint64 { return mix(xxhash.Sum64String("singleton/" + name)) }

// byName orders members.
func byName(a, b Member) int { return cmp.Compare(a.Name, b.Name) }
