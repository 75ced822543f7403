// Command etcd is the etcd server built from its Go module, so that neither the
// single-node cluster nor the API rig needs an etcd package of the distribution.
// It takes etcd's own flags.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
