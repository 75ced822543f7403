package podlogs

import (
	"context"
	"time"
)

// PodRef names a pod by what decides which replica reads it.
type PodRef struct {
	UID  string `json:"uid"`
	Node string `json:"node"`
}

// Held is how far one container was read, as replicas tell each other. The
// receiver owns it. Times are ages, since clocks differ.
type Held struct {
	UID       string `json:"uid"`
	Node      string `json:"node,omitempty"`
	Container string `json:"container"`
	// Position and Labels are the values of the target's marks; without Labels
	// they are as they were told before.
	Position []byte `json:"position,omitempty"`
	Labels   []byte `json:"labels,omitempty"`
	// Own says that the sender read the container itself, up to now or up to its
	// last start; what it says is then not older than any copy of the same epoch.
	Own bool `json:"own,omitempty"`
	// Stamp is when a copy was made, in Unix milliseconds of its reader's clock.
	Stamp int64 `json:"stamp,omitempty"`
	// Empty says that the run's log was read and nothing of it is stored yet,
	// EmptyMillis how long ago it was looked at last. Late says that it was first
	// read too late to know that it was not rotated before.
	Empty       bool  `json:"empty,omitempty"`
	EmptyMillis int64 `json:"emptyMillis,omitempty"`
	Late        bool  `json:"late,omitempty"`
	// Gone says that the pod is gone, and that what was to be said about its end
	// is stored: copies are not needed any more. Nothing else is set then.
	Gone bool `json:"gone,omitempty"`
}

func (h *Held) key() targetKey { return targetKey{uid: h.UID, container: h.Container} }

// Claim is what the other replicas answered when pods were asked for.
type Claim struct {
	// Held is everything they know about the containers of these pods. Whoever
	// was reading them has stopped, and stored what it had read.
	Held []Held
	// Later are the uids of pods that are to be asked for again in a while: one
	// who may be reading them could not be asked, or holds them for its own.
	Later []string
	// Missing says that a replica could not be asked that may know more,
	// MissingSince how long that has been so at least.
	Missing      bool
	MissingSince time.Time
}

// Share divides the pods among the replicas of a set. Every replica computes
// the owner of a pod from what it knows of the others, so that two may disagree
// for moments. All methods may be called concurrently and, except Claim and
// Replicate, return at once.
type Share interface {
	// Self is the name of this replica.
	Self() string
	// Owner names the replica that is to read the pod, "" for none.
	Owner(p PodRef) string
	// Fenced says that this replica cannot know whether it still is one: it reads
	// nothing, and owns nothing.
	Fenced() bool
	// Settled says that no replica has come or gone for so long that all know it.
	Settled() bool
	// Seen returns when a replica was last known to work, and whether it does now.
	Seen(name string) (last time.Time, live bool)
	// TakenOver says that other replicas worked on when this one ended last time,
	// long enough to take its pods over.
	TakenOver() bool
	// SetNodes tells how many nodes have pods, and returns how many replicas
	// share the pods of one node.
	SetNodes(n int) (spread int)
	// Subscribe returns a channel that holds a token after an answer of the
	// methods above may have changed.
	Subscribe() (changed <-chan struct{}, cancel func())
	// Claim asks all other replicas that work for everything about the pods, see
	// Collector.Release.
	Claim(ctx context.Context, pods []PodRef) Claim
	// Replicate hands each position to the replica that is to take over the pod
	// if this one dies, see Collector.Keep. It returns what did not arrive.
	Replicate(ctx context.Context, list []Held) (failed []Held)
}

const (
	// claimBatch is how many pods are asked for at once.
	claimBatch = 64
	// claimTimeout bounds one request for pods, claimRetry is how long after it
	// the next is made for those that could not be had.
	claimTimeout = 15 * time.Second
	claimRetry   = time.Second
	// missingPatience is how long a container that nobody knows anything about
	// waits for a replica that may: all may be on their way back after a restart.
	missingPatience = time.Minute
	// freshPod is how old a pod may be to be read without asking anybody.
	freshPod = time.Minute
	// replicateInterval is how often positions are copied to the next replica: as
	// much as that is read again when this one dies.
	replicateInterval = time.Second
	// refreshEmpty is how often it is told that a log is still empty.
	// After emptyCopyLapse a copy that says so is not believed.
	refreshEmpty   = 10 * time.Second
	emptyCopyLapse = 30 * time.Second
	// sweepInterval is how often what is left over is looked at.
	sweepInterval = 5 * time.Second
	// orphanAfter is how long a replica goes on reading what another one owns
	// that does not ask for it, and how long copies of vanished pods are kept for
	// an owner that says nothing.
	orphanAfter = time.Minute
	// finalReplicate bounds the last copies of a replica that stops.
	finalReplicate = 3 * time.Second
)
