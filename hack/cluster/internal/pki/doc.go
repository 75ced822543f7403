// Package pki makes the certificates of a throw-away Kubernetes control plane:
// one certificate authority, serving and client certificates signed by it, the
// key pair that signs service account tokens, and kubeconfig files.
//
// An [Authority] lives in a directory: [Open] loads it or creates it, and every
// certificate it issues is a pair of PEM files (<name>.crt, <name>.key) beside
// it, reused by the next run as long as it is valid for the same names. Keys are
// ECDSA P-256, files that hold a key have mode 0600.
//
// The package knows nothing about processes or about which component needs which
// certificate, and it does not renew or revoke: a cluster that outlives its
// certificates (one year) is made anew.
package pki
