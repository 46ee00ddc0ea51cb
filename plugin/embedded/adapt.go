package embedded

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/linked"
)

// newDiffer makes the configured differ. blobs is the backend below the store.
func newDiffer(cfg *Config, store content.Store, blobs *linked.Store) (Differ, error) {
	if cfg.NewDiffer != nil {
		return cfg.NewDiffer(store)
	}
	return differ.New(store, differ.Config{Linked: blobs}), nil
}

// namespaceStore runs each call in a transaction of its own, as containerd's namespace store works on one.
type namespaceStore struct{ db *metadata.DB }

// Create implements namespaces.Store.
func (s namespaceStore) Create(ctx context.Context, namespace string, labels map[string]string) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return metadata.NewNamespaceStore(tx).Create(ctx, namespace, labels)
	})
}

// Labels implements namespaces.Store. A namespace that does not exist has no labels.
func (s namespaceStore) Labels(ctx context.Context, namespace string) (labels map[string]string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		labels, err = metadata.NewNamespaceStore(tx).Labels(ctx, namespace)
		return err
	})
	return labels, err
}

// SetLabel implements namespaces.Store.
func (s namespaceStore) SetLabel(ctx context.Context, namespace, key, value string) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return metadata.NewNamespaceStore(tx).SetLabel(ctx, namespace, key, value)
	})
}

// List implements namespaces.Store.
func (s namespaceStore) List(ctx context.Context) (names []string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		names, err = metadata.NewNamespaceStore(tx).List(ctx)
		return err
	})
	return names, err
}

// Delete implements namespaces.Store.
func (s namespaceStore) Delete(ctx context.Context, namespace string, opts ...namespaces.DeleteOpts) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return metadata.NewNamespaceStore(tx).Delete(ctx, namespace, opts...)
	})
}
