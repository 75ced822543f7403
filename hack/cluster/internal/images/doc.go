// Package images packs the programs of this module that run in pods as image
// archives, and keeps the archives in the cache directory, named by the content
// of the program, so that they are packed again only when it changes.
//
// The packing itself is hack/image's; this package only calls it. Loading an
// archive into a node is the business of whoever runs the node.
package images
