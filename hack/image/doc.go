// Command image packs a static Go program as an OCI image without a container
// engine: it compiles the program for each platform, puts the binary, CA
// certificates and a user database on an empty base, and writes one archive.
//
//	go run ./hack/image -o dist/collector.tar
//	go run ./hack/image -o pause.tar -prebuilt bin/pause -tag example.org/pause:1
//
// The archive holds an OCI image layout, and beside it the manifest.json of
// `docker save`, so that `ctr images import`, `kind load image-archive`,
// `docker load` and registry tools can all read it:
//
//	oci-layout
//	index.json                 one entry, annotated with the image's name
//	blobs/sha256/<digest>      image index (when more than one platform),
//	                           manifests, configurations, layers
//	manifest.json              the first platform, for Docker
//
// Each image has two layers, so that a new version of the program costs only its
// own bytes:
//
//	/etc/passwd, /etc/group    user nonroot, 65532
//	/etc/ssl/certs/ca-certificates.crt   Mozilla's roots, as golang.org/x/crypto publishes them
//	/tmp                       mode 1777
//	/<program>                 the entry point
//
// Equal sources give equal archives, byte by byte: nothing in them depends on
// the clock, the user or the directory. SOURCE_DATE_EPOCH sets the time that the
// image claims, otherwise it is 1970.
package main
