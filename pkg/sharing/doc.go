// Package sharing divides the pods of a cluster among the replicas of a set.
//
// A [Group] is the membership of this process. It is a [podlogs.Share]: the
// reader of pod logs asks it which pods are its own. It knows nothing of lines.
//
// # Members
//
// Each replica holds a Lease named like itself, labelled with the set's name
// (logstack.dev/member), with the URL it answers at (logstack.dev/url), and
// watches those of the others. It renews its own every 5 seconds. A replica that
// could not do so for 10 seconds is fenced: it reads nothing until it can. One
// whose Lease has not changed for 15 seconds, by the watcher's own clock and
// after asking once more, is away, and its pods are taken over. Who stops in good
// order gives the Lease up, so that this happens at once, and keeps the object: a
// replica that is away may hold entries that no other has, and must stay known.
// Only one that has given everything away deletes its Lease ([Group.Close]).
//
// # Who reads what
//
// Rendezvous hashing of the node's name over the members that are ready; all pods
// of a node belong together, since the limits of what is asked of one node are
// kept by each member for itself. Where nodes are too few for that (fewer than 32
// for each member), their pods are divided into a power of two of parts by the
// hash of the pod's uid. Everybody computes this from what it sees, and nobody
// decides it: two members may disagree for moments, which is settled when one
// asks the other for the pod.
//
// # How a pod changes hands
//
// The new owner asks: it sends the pod's uid to every member that works. One that
// reads the pod, and agrees that it is not its own, stops, stores what it has
// read, and answers with its positions; it goes on reading until it is asked. All
// answer with the copies of positions that they keep: each owner sends what has
// moved once a second to the member that ranks second for the pod. The new owner
// stores the newest as its own and goes on from there ([podlogs] says how it makes
// sure that every line is in one store as often as it was written). A member that
// cannot be asked is waited for until its Lease ends, 30 seconds at most.
//
// What one member does for all, such as reading events, is handed over by marks
// that this package only carries: a new owner asks all that work for theirs
// ([Group.AskMarks]), one that stops leaves its own to the next ([Group.LeaveMarks]).
//
// Nothing of this has to work for the answers to be right: two replicas that read
// the same pod store the same lines, and a query counts them once. It has to work
// for lines not to be missing, and for the work to be done once.
package sharing
