package main

import (
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/store"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// The plugin refuses to put an old collector on new data by this number, and does
// not link the store.
func TestStoreFormat(t *testing.T) {
	if version.StoreFormat != store.FormatVersion {
		t.Errorf("version.StoreFormat is %d, the store's is %d", version.StoreFormat, store.FormatVersion)
	}
	_, db, _ := listen(t)
	if got := newStoreStatus(db.Status()).Format; got < 1 || got > store.FormatVersion {
		t.Errorf("status says format %d", got)
	}
}
