package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

const (
	// ownNamespaceFile is where a pod finds the name of its namespace.
	ownNamespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	// installNamespace is where an installation lives by default.
	installNamespace = "logstack"
)

// nodeFileFlags say whether and how log files of nodes are read.
type nodeFileFlags struct {
	mode      string
	account   string
	tokenFile string
	caFile    string
	port      int
	insecure  bool

	ca []byte
}

func (f *nodeFileFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.mode, "read-node-files", string(podlogs.NodeFilesOff),
		"`MODE` of reading log files of nodes through their kubelets: off, backfill (what the API no longer shows) or all; needs the right nodes/log, see docs/node-files.md")
	fs.StringVar(&f.account, "node-files-service-account", "logstack-node-logs",
		"`NAME` or NAMESPACE/NAME of the service account to request tokens for kubelets of; it needs get on nodes/log and nothing else")
	fs.StringVar(&f.tokenFile, "node-files-token-file", "", "`FILE` with a token for kubelets, instead of requesting one")
	fs.StringVar(&f.caFile, "node-files-ca-file", "", "PEM `FILE` of the authority that signs the certificates of kubelets (default that of the API server)")
	fs.IntVar(&f.port, "node-files-port", 10250, "`PORT` of the kubelets")
	fs.BoolVar(&f.insecure, "node-files-insecure-skip-tls-verify", false,
		"accept any certificate of a kubelet: an impostor learns the token, which can read the log files of all nodes")
}

// check reads the file of the authority.
func (f *nodeFileFlags) check() error {
	if !slices.Contains(podlogs.NodeFilesModes, podlogs.NodeFilesMode(f.mode)) {
		return fmt.Errorf("--read-node-files %q: use off, backfill or all", f.mode)
	}
	if f.port < 1 || f.port > 65535 {
		return fmt.Errorf("--node-files-port %d: use a port between 1 and 65535", f.port)
	}
	if f.caFile != "" && f.insecure {
		return errors.New("--node-files-ca-file and --node-files-insecure-skip-tls-verify contradict each other: give one of them")
	}
	if f.caFile == "" {
		return nil
	}
	var err error
	if f.ca, err = os.ReadFile(f.caFile); err != nil {
		return fmt.Errorf("--node-files-ca-file: %w", err)
	}
	return nil
}

// options are those of the pod log collector.
func (f *nodeFileFlags) options() podlogs.NodeFilesOptions {
	namespace, account, ok := strings.Cut(f.account, "/")
	if !ok {
		namespace, account = ownNamespace(), f.account
	}
	return podlogs.NodeFilesOptions{
		Mode:      podlogs.NodeFilesMode(f.mode),
		Namespace: namespace, ServiceAccount: account,
		TokenFile: f.tokenFile, CA: f.ca, InsecureSkipTLSVerify: f.insecure, Port: f.port,
	}
}

// ownNamespace is the namespace of the collector's pod; outside of a cluster,
// the one of an installation.
func ownNamespace() string {
	if b, err := os.ReadFile(ownNamespaceFile); err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b))
	}
	return installNamespace
}
