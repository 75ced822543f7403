// Command release builds everything that a release consists of, on one machine
// and without a service:
//
//	go run ./hack/release -version v0.1.0            all platforms, into dist/release
//	go run ./hack/release -platforms linux/amd64     one platform, to try it
//
// The directory then holds:
//
//	kubectl-logstack_<os>_<arch>.tar.gz   .zip for Windows: the plugin, LICENSE and
//	                                      THIRD_PARTY_LICENSES
//	collector.tar                         OCI image archive of the collector, all
//	                                      architectures (hack/image)
//	*.cdx.json                            CycloneDX bills of materials, from what
//	                                      the linker recorded in the binaries
//	logstack.yaml                         the Krew manifest with the true digests
//	checksums.txt                         SHA-256 of all of these
//
// Equal commits give equal bytes: times are those of the commit
// (SOURCE_DATE_EPOCH overrides them), archives are sorted and owned by root, and
// binaries are built with -trimpath and without VCS stamps.
//
// The Krew manifest is .krew.yaml, the template that the release bot of Krew's
// index reads, filled in here with local digests. It is checked by the rules of
// Krew's own validation (package krew) before it is written. -index also puts it
// into an index of its own, with the archives at the address of -mirror.
package main
