package sharing

import (
	"fmt"
	"testing"
)

// names makes member names.
func names(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("logstack-%d", i))
	}
	return list
}

type pod struct{ node, uid string }

func pods(nodes, each int) []pod {
	var list []pod
	for n := range nodes {
		for p := range each {
			list = append(list, pod{fmt.Sprintf("node-%d", n), fmt.Sprintf("4a5e-%d-%d", n, p)})
		}
	}
	return list
}

func assign(list []pod, members []string, parts int) (owner, second map[pod]string) {
	r := newRanking(members)
	owner, second = make(map[pod]string), make(map[pod]string)
	for _, p := range list {
		owner[p], second[p] = r.best(podKey(p.node, p.uid, parts))
	}
	return owner, second
}

// TestMovement adds and removes members: only what the one takes or had moves,
// and what a dead one had goes to the second-ranked.
func TestMovement(t *testing.T) {
	for _, nodes := range []int{1, 5, 60} {
		list := pods(nodes, 3000/nodes)
		for n := 1; n < 6; n++ {
			parts := splits(nodes, n+1) // fixed, to see the members' part alone
			less, _ := assign(list, names(n), parts)
			more, next := assign(list, names(n+1), parts)
			newcomer := names(n + 1)[n]
			moved := 0
			for _, p := range list {
				switch {
				case more[p] == newcomer:
					moved++
					if next[p] != less[p] {
						t.Fatalf("%d nodes, %d members: when %s dies pod %v goes to %s, and not to the second-ranked %s", nodes, n+1, newcomer, p, less[p], next[p])
					}
				case more[p] != less[p]:
					t.Fatalf("%d nodes, %d members: pod %v moves from %s to %s, and neither is new", nodes, n+1, p, less[p], more[p])
				}
			}
			share := float64(moved) / float64(len(list)) * float64(n+1)
			if share < 0.5 || share > 1.6 {
				t.Errorf("%d nodes: the member number %d takes %.2f of its part", nodes, n+1, share)
			}
		}
	}
}

func TestNodesBelongTogether(t *testing.T) {
	list := pods(96, 20)
	owner, _ := assign(list, names(3), splits(96, 3))
	of := make(map[string]string)
	for _, p := range list {
		if o, ok := of[p.node]; ok && o != owner[p] {
			t.Fatalf("pods of %s belong to %s and %s", p.node, o, owner[p])
		}
		of[p.node] = owner[p]
	}
}

// TestDoubling doubles the splits: at most about half of the pods move.
func TestDoubling(t *testing.T) {
	list := pods(10, 300)
	for parts := 1; parts < 64; parts *= 2 {
		before, _ := assign(list, names(3), parts)
		after, _ := assign(list, names(3), 2*parts)
		moved := 0
		for _, p := range list {
			if before[p] != after[p] {
				moved++
			}
		}
		if share := float64(moved) / float64(len(list)); share > 0.45 {
			t.Errorf("from %d to %d parts %.2f of the pods move", parts, 2*parts, share)
		}
	}
}

func TestSplits(t *testing.T) {
	for _, x := range []struct{ nodes, members, want int }{
		{1, 1, 1}, {0, 1, 1}, {1, 3, 128}, {3, 3, 32}, {95, 3, 2}, {96, 3, 1}, {1000, 3, 1}, {1, 1000, maxSplits},
	} {
		if got := splits(x.nodes, x.members); got != x.want {
			t.Errorf("%d nodes, %d members: %d parts, want %d", x.nodes, x.members, got, x.want)
		}
	}
}

// TestStableHash pins the assignment: replicas of different versions must agree.
func TestStableHash(t *testing.T) {
	r := newRanking(names(3))
	got := ""
	for _, p := range pods(4, 2) {
		first, second := r.best(podKey(p.node, p.uid, 4))
		got += fmt.Sprint(first[len(first)-1:], second[len(second)-1:], " ")
	}
	first, second := r.best(nameKey("events"))
	got += first + " " + second
	if want := "02 21 02 21 12 12 02 20 logstack-2 logstack-1"; got != want {
		t.Errorf("assignment is %q, was %q", got, want)
	}
}
