package podlogs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// NodeFilesMode says what log files of nodes are read for.
type NodeFilesMode string

// The modes of reading files of nodes.
const (
	// NodeFilesOff never reads files.
	NodeFilesOff NodeFilesMode = "off"
	// NodeFilesBackfill reads from the API, and from files what the API serves no
	// more: where a gap would be marked, only what is in no file is one.
	NodeFilesBackfill NodeFilesMode = "backfill"
	// NodeFilesAll reads files wherever that works, by offsets, and from the API
	// elsewhere.
	NodeFilesAll NodeFilesMode = "all"
)

// NodeFilesModes are all of them.
var NodeFilesModes = []NodeFilesMode{NodeFilesOff, NodeFilesBackfill, NodeFilesAll}

// NodeFilesOptions say how to reach the files of nodes: through the /logs/
// endpoint of each node's kubelet, with a token of a service account that may do
// nothing else.
type NodeFilesOptions struct {
	// Mode is NodeFilesOff when empty.
	Mode NodeFilesMode
	// Namespace and ServiceAccount name the account that tokens are requested of.
	Namespace, ServiceAccount string
	// TokenFile holds a token to be used instead.
	TokenFile string
	// CA are PEM certificates that sign those of kubelets; none means the
	// authority of the API server.
	CA []byte
	// InsecureSkipTLSVerify accepts any certificate of a kubelet.
	InsecureSkipTLSVerify bool
	// Port of the kubelets, 0 means 10250.
	Port int
}

// LogSource says where a container's log is read from.
type LogSource string

// The sources of logs.
const (
	SourceAPI   LogSource = "api"   // pods/log of the API server
	SourceFiles LogSource = "files" // the files of the node
)

const (
	// probeFirst and probeMax bound how long a node whose files could not be
	// read is left alone.
	probeFirst, probeMax = time.Minute, 15 * time.Minute
	// probeInterval is how often nodes are looked at, probeTimeout how long one
	// may take to answer.
	probeInterval, probeTimeout = 15 * time.Second, 15 * time.Second
	// probeTries and probePause are for what may be a hiccup.
	probeTries, probePause = 3, time.Second
	// targetPenalty is how long one container is read from the API after its
	// files could not be read although those of the node can.
	targetPenalty = 10 * time.Minute
	probers       = 8
)

// fileSource is nodefiles.Client, or a test.
type fileSource interface {
	Probe(ctx context.Context, d nodefiles.Dir) error
	List(ctx context.Context, d nodefiles.Dir) ([]nodefiles.File, error)
	Head(ctx context.Context, d nodefiles.Dir, f nodefiles.File) ([]byte, error)
	Open(ctx context.Context, d nodefiles.Dir, f nodefiles.File, offset int64) (*nodefiles.Body, error)
}

// nodeFiles knows which nodes' files can be read.
type nodeFiles struct {
	mode NodeFilesMode
	src  fileSource
	log  *limitedLog
	// back is called when a node's files can be read that could not before.
	back func(node string)

	mu    sync.Mutex
	nodes map[string]*fileNode
}

// fileNode is one node. Nodes come back under their name, so none is forgotten.
type fileNode struct {
	name string

	probing sync.Mutex // held while the node is asked

	mu       sync.Mutex
	host     string
	asked    bool
	problem  error // why its files cannot be read
	failures int
	again    time.Time
	// keeps is the largest number of files of one run that was seen there. The
	// kubelet of a node keeps as many of every run.
	keeps int
}

// lacks says of a run with n files whether older ones may have been removed.
func (n *fileNode) lacks(files int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keeps = max(n.keeps, files)
	return files > 1 && files >= n.keeps
}

var errNoNode = errors.New("the node or its address is not known")

// newNodeFiles returns nil when no files are to be read.
func newNodeFiles(o *Options, m *metrics, log *limitedLog) (*nodeFiles, error) {
	f := &nodeFiles{mode: o.NodeFiles.Mode, src: o.fileSource, log: log, nodes: make(map[string]*fileNode)}
	if f.mode == NodeFilesOff {
		return nil, nil
	}
	if f.src == nil {
		client, err := newFileClient(o, m)
		if err != nil {
			return nil, err
		}
		f.src = client
	}
	if o.NodeFiles.InsecureSkipTLSVerify {
		o.Logger.Warn("certificates of kubelets are not verified: whoever answers in a node's place learns a token that reads all nodes' log files, and chooses what is stored")
	}
	return f, nil
}

func newFileClient(o *Options, m *metrics) (*nodefiles.Client, error) {
	n := &o.NodeFiles
	ca := n.CA
	if len(ca) == 0 && o.RESTConfig != nil {
		ca = o.RESTConfig.CAData
		if len(ca) == 0 && o.RESTConfig.CAFile != "" {
			var err error
			if ca, err = os.ReadFile(o.RESTConfig.CAFile); err != nil {
				return nil, fmt.Errorf("the authority of the API server, to verify kubelets: %w", err)
			}
		}
	}
	var tokens nodefiles.Tokens
	if n.TokenFile != "" {
		tokens = nodefiles.FileTokens(n.TokenFile)
	} else {
		core, err := newRESTClient(o.RESTConfig, corev1.SchemeGroupVersion, nil)
		if err != nil {
			return nil, fmt.Errorf("client for tokens: %w", err)
		}
		tokens = nodefiles.RequestedTokens(core, n.Namespace, n.ServiceAccount)
	}
	agent := o.RESTConfig.UserAgent
	if agent == "" {
		agent = rest.DefaultKubernetesUserAgent()
	}
	return nodefiles.New(nodefiles.Options{
		Tokens: tokens, CA: ca, InsecureSkipVerify: n.InsecureSkipTLSVerify, Port: n.Port, UserAgent: agent,
		OnRequest: func(k nodefiles.Kind) { m.fileRequests.WithLabelValues(outcome(k)).Inc() },
	})
}

func outcome(k nodefiles.Kind) string {
	if k == "" {
		return "ok"
	}
	return string(k)
}

// validate adds what is wrong with the options.
func (n *NodeFilesOptions) validate(need func(bool, string)) {
	need(slices.Contains(NodeFilesModes, n.Mode), "NodeFiles.Mode must be off, backfill or all")
	if n.Mode != NodeFilesOff {
		need(n.TokenFile != "" || n.Namespace != "" && n.ServiceAccount != "", "NodeFiles: name a service account or a token file")
	}
}

// learn notes where a node is.
func (f *nodeFiles) learn(pod *corev1.Pod) {
	if f == nil || pod.Spec.NodeName == "" || pod.Status.HostIP == "" {
		return
	}
	n := f.node(pod.Spec.NodeName)
	n.mu.Lock()
	n.host = pod.Status.HostIP
	n.mu.Unlock()
}

func (f *nodeFiles) node(name string) *fileNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	if n == nil {
		n = &fileNode{name: name}
		f.nodes[name] = n
	}
	return n
}

// dir is the directory of a container, once its node is known to serve it.
func (f *nodeFiles) dir(ctx context.Context, v *containerView) (nodefiles.Dir, error) {
	d := nodefiles.Dir{Node: v.node, Namespace: v.namespace, Pod: v.pod, UID: v.logUID, Container: v.key.container}
	if d.UID == "" {
		d.UID = v.key.uid
	}
	if v.node == "" {
		return d, errNoNode
	}
	n := f.node(v.node)
	n.probing.Lock() // others wait for the outcome
	host, problem, due := n.state(time.Now())
	if host != "" && due {
		f.probe(ctx, n, host)
		_, problem, _ = n.state(time.Now())
	}
	n.probing.Unlock()
	d.Host = host
	if host == "" {
		problem = errNoNode
	}
	return d, problem
}

// state returns what is known of the node; due says that it is time to ask.
func (n *fileNode) state(now time.Time) (host string, problem error, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host, n.problem, !n.asked || n.problem != nil && !now.Before(n.again)
}

// probe asks the node. n.probing is held.
func (f *nodeFiles) probe(ctx context.Context, n *fileNode, host string) {
	var err error
	for range probeTries {
		limited, cancel := context.WithTimeout(ctx, probeTimeout)
		err = f.src.Probe(limited, nodefiles.Dir{Host: host, Node: n.name})
		cancel()
		kind := nodefiles.KindOf(err)
		if err == nil || kind != "" && kind != nodefiles.KindUnreachable && kind != nodefiles.KindBusy || sleep(ctx, probePause) != nil {
			break
		}
	}
	if ctx.Err() == nil {
		f.note(n, err)
	}
}

// note keeps how asking the node went.
func (f *nodeFiles) note(n *fileNode, err error) {
	n.mu.Lock()
	was := n.problem
	n.asked, n.problem = true, err
	if err == nil {
		n.failures = 0
	} else {
		wait := probeMax
		if n.failures < 4 {
			wait = probeFirst << n.failures
		}
		n.failures++
		n.again = time.Now().Add(wait + rand.N(wait/4))
	}
	n.mu.Unlock()
	switch {
	case err != nil:
		f.log.warn("node files "+n.name, "the log files of a node cannot be read; its logs come from the API alone", "node", n.name, "err", err)
	case was != nil:
		f.log.log.Info("the log files of a node can be read again", "node", n.name)
		if f.back != nil {
			f.back(n.name)
		}
	}
}

// watch probes nodes that are new, and from time to time those that failed.
func (f *nodeFiles) watch(ctx context.Context) {
	for sleep(ctx, probeInterval) == nil {
		var due []*fileNode
		f.mu.Lock()
		for _, n := range f.nodes {
			if host, _, is := n.state(time.Now()); is && host != "" {
				due = append(due, n)
			}
		}
		f.mu.Unlock()
		var wg sync.WaitGroup
		for i := range min(probers, len(due)) {
			wg.Go(func() {
				for j := i; j < len(due) && ctx.Err() == nil; j += probers {
					f.probeIfDue(ctx, due[j])
				}
			})
		}
		wg.Wait()
	}
}

func (f *nodeFiles) probeIfDue(ctx context.Context, n *fileNode) {
	n.probing.Lock()
	defer n.probing.Unlock()
	if host, _, due := n.state(time.Now()); due {
		f.probe(ctx, n, host)
	}
}

// problems says for the status which nodes' files cannot be read.
func (f *nodeFiles) problems() []string {
	if f == nil {
		return nil
	}
	byText := make(map[string][]string)
	f.mu.Lock()
	for name, n := range f.nodes {
		if _, problem, _ := n.state(time.Now()); problem != nil {
			text := strings.ReplaceAll(problem.Error(), "node "+name, "the node")
			byText[text] = append(byText[text], name)
		}
	}
	f.mu.Unlock()
	var out []string
	for text, nodes := range byText {
		slices.Sort(nodes)
		out = append(out, fmt.Sprintf("log files of %d node(s) cannot be read (%s): %s", len(nodes), shorten(nodes), firstWords(text)))
	}
	slices.Sort(out)
	return out
}

// counts returns the number of nodes by whether their files can be read.
func (f *nodeFiles) counts() (readable, unreadable int) {
	if f == nil {
		return 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		n.mu.Lock()
		switch {
		case n.problem != nil:
			unreadable++
		case n.asked:
			readable++
		}
		n.mu.Unlock()
	}
	return readable, unreadable
}

func shorten(names []string) string {
	const show = 3
	if len(names) > show {
		return strings.Join(names[:show], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// Annotations of mirror pods. The kubelet names the directories of a static pod
// after the hash of its manifest, and the API knows only the mirror's uid.
const (
	annotationMirror     = "kubernetes.io/config.mirror"
	annotationConfigHash = "kubernetes.io/config.hash"
)

// logUID is the uid in the name of the pod's log directory.
func logUID(pod *corev1.Pod) string {
	if pod.Annotations[annotationMirror] != "" && pod.Annotations[annotationConfigHash] != "" {
		return pod.Annotations[annotationConfigHash]
	}
	return string(pod.UID)
}

// wakeNode makes the targets of a node look again where to read from.
func (c *Collector) wakeNode(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.targets {
		if v, _ := t.snapshot(); v.node == node {
			notify(t.changed)
			t.stepBack()
		}
	}
}
