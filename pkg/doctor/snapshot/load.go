package snapshot

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Request says what to load.
type Request struct {
	// Client is the cluster; nil loads files alone.
	Client *kube.Client
	Probes Probes
	// Files are names of files and directories; "-" is standard input.
	Files []string
	FileOptions
	// Namespace and Name are those of our own stack.
	StackNamespace, StackName string
	Options                   Options
	// InstallNeeds are the rights of an installation, to be asked for; nil for none.
	InstallNeeds []Right
	// Manifests are examined like a file: what an installation would apply.
	Manifests []byte
	// Complete names kinds of which the files hold all there is ("all" for
	// every kind): an export of a cluster, or a test.
	Complete []Input
	// Now is the time of the snapshot; zero is the present.
	Now time.Time
}

// InstallFile is the name of [Request].Manifests in findings.
const InstallFile = "kubectl logstack install --dry-run=client"

// Load takes the snapshot. Files lie over the cluster's objects of the same
// name. It fails when ctx ends, or with *FileError (joined) for files that
// cannot be used; whatever of the cluster cannot be read is a missing input.
func Load(ctx context.Context, r Request) (*Snapshot, error) {
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	s := New(r.Now, r.StackNamespace, r.StackName)
	s.Options = r.Options
	if r.Client != nil {
		if err := s.loadLive(ctx, r.Client); err != nil {
			return nil, err
		}
		s.readInstallRights(ctx, r.Client, r.InstallNeeds)
		s.clusterDomain(ctx, r.Client)
		s.readClocks(ctx, r.Client)
	}
	if err := s.loadFiles(r.Files, r.FileOptions); err != nil {
		return nil, err
	}
	if len(r.Manifests) > 0 {
		l := &fileLoader{s: s, opts: r.FileOptions}
		if err := l.file(InstallFile, r.Manifests, true); err != nil {
			return nil, err
		}
	}
	if r.Client == nil {
		s.markOffline(r.Complete)
	}
	s.coverFiles(r.Complete)
	s.derive()
	if r.Client != nil {
		s.runProbes(ctx, r.Probes)
		s.readMetrics(ctx, r.Client)
		s.readLogs(ctx, r.Client)
		s.readVolumes(ctx, r.Client)
		s.lookInside(ctx, r.Probes)
	}
	return s, ctx.Err()
}

// derive builds the derived views.
func (s *Snapshot) derive() {
	s.deriveStacks()
	s.deriveReleases()
	s.deriveCollectors()
	s.missingDerived()
}

// Finish builds the derived views of a snapshot that was put together by hand.
func (s *Snapshot) Finish() { s.derive() }

// complete says whether in is one of list, or everything is.
func complete(list []Input, in Input) bool {
	return slices.Contains(list, in) || slices.Contains(list, "all")
}

// markOffline marks every kind that no file has.
func (s *Snapshot) markOffline(whole []Input) {
	for _, k := range kinds {
		if s.d.files[k.in] == 0 && !complete(whole, k.in) {
			s.d.missing[k.in] = &Missing{Offline: true}
		}
	}
	for _, in := range []Input{Server, OwnRights, CollectorRights, Query, Arrival, Flow, StackMetrics, Logs, Volumes, Inside, InstallRights, Discovery} {
		s.d.missing[in] = &Missing{Offline: true, Err: errors.New("no cluster was asked")}
	}
}

// coverFiles: files show only the namespaces that they mention. Without a
// cluster, or where the cluster does not let us look, that is the scope.
func (s *Snapshot) coverFiles(whole []Input) {
	for in, n := range s.d.files {
		if n == 0 || complete(whole, in) || s.d.version != nil && s.d.missing[in] == nil {
			continue
		}
		delete(s.d.missing, in)
		seen := map[string]bool{}
		scope := []string{}
		for _, o := range s.d.objects[in] {
			if ns := o.GetNamespace(); ns != "" && !seen[ns] {
				seen[ns] = true
				scope = append(scope, ns)
			}
		}
		if len(scope) > 0 {
			s.d.scope[in] = scope
		}
	}
}

// missingDerived: a derived view is missing when it is empty and what it is
// made from is missing.
func (s *Snapshot) missingDerived() {
	if len(s.d.stacks) == 0 {
		s.d.inherit(Stacks, DaemonSets, Deployments, StatefulSets)
	}
	if len(s.d.releases) == 0 {
		s.d.inherit(Releases, Secrets, HelmReleases, Applications)
	}
	if len(s.d.collectors) == 0 {
		s.d.inherit(Collectors, DaemonSets, Deployments, StatefulSets, ConfigMaps, Secrets)
	}
}

// inherit marks in as missing when one of its parts is: without it nobody
// knows that there is nothing.
func (d *data) inherit(in Input, parts ...Input) {
	for _, p := range parts {
		if m := d.missing[p]; m != nil {
			d.missing[in] = m
			return
		}
	}
}
