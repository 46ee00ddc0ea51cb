package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/safebolt"
)

// SnapshotterName is the name of kiln's snapshotter in labels, leases and requests.
const SnapshotterName = "kiln"

// backends are the stores below the metadata layer.
type backends struct {
	content     content.Store
	snapshotter snapshots.Snapshotter
}

// openMetadata opens the database and puts the metadata layer over the backends. Closing the returned metadata.DB
// closes the database.
func openMetadata(ctx context.Context, cfg *Config, b backends, publisher events.Publisher) (*metadata.DB, *safebolt.DB, error) {
	bdb, err := safebolt.Open(ctx, filepath.Join(cfg.Root, "meta.db"), safebolt.Options{
		Interval: cfg.SyncInterval,
		Flush:    b.flush,
		OnError:  func(err error) { log.G(ctx).WithError(err).Error("metadata could not be synced") },
	})
	if err != nil {
		return nil, nil, err
	}
	opts := []metadata.DBOpt{metadata.WithEventsPublisher(publisher)}
	if cfg.IsolateContent {
		opts = append(opts, metadata.WithPolicyIsolated)
	}
	mdb := metadata.NewDB(bdb,
		&guardedContent{Store: b.content, sync: bdb.Sync},
		map[string]snapshots.Snapshotter{SnapshotterName: &guardedSnapshots{Snapshotter: b.snapshotter, sync: bdb.Sync}},
		opts...)
	if err := prepareMetadata(ctx, mdb, bdb); err != nil {
		return nil, nil, errors.Join(err, bdb.Close())
	}
	return mdb, bdb, nil
}

func prepareMetadata(ctx context.Context, mdb *metadata.DB, bdb *safebolt.DB) error {
	if bdb.RolledBack() {
		log.G(ctx).Warn("the machine stopped without warning: metadata continues from its last safe point")
		if err := bdb.Update(skipNames); err != nil {
			return fmt.Errorf("skip names handed out before the power loss: %w", err)
		}
	}
	if err := mdb.Init(ctx); err != nil {
		return fmt.Errorf("initialise metadata: %w", err)
	}
	return nil
}

// flush makes durable what the backends put off. A backend without a Sync method has put nothing off.
func (b *backends) flush(ctx context.Context) error {
	for _, backend := range []any{b.content, b.snapshotter} {
		if s, ok := backend.(interface{ Sync(context.Context) error }); ok {
			if err := s.Sync(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// skipped is more than the names that can be handed out between two safe points.
const skipped = 1 << 32

// skipNames advances the sequence numbers that the metadata layer builds into backend names ("<ns>/<number>/<key>"),
// so that a number used after the safe point is not used again for something else.
func skipNames(tx *bolt.Tx) error {
	root := tx.Bucket([]byte("v1"))
	if root == nil {
		return nil
	}
	return root.ForEachBucket(func(namespace []byte) error {
		for _, path := range [][]byte{[]byte("snapshots/" + SnapshotterName), []byte("content/ingests")} {
			b := root.Bucket(namespace)
			for part := range bytes.SplitSeq(path, []byte("/")) {
				if b = b.Bucket(part); b == nil {
					break
				}
			}
			if b == nil {
				continue
			}
			if err := b.SetSequence(b.Sequence() + skipped); err != nil {
				return err
			}
		}
		return nil
	})
}

// ensureNamespace creates the builder's namespace and makes kiln's snapshotter its default, unless somebody chose
// another one. It writes only what is missing.
func ensureNamespace(ctx context.Context, store namespaces.Store, name string) error {
	labels, err := store.Labels(ctx, name)
	if err == nil && labels[defaultSnapshotterLabel] != "" {
		return nil
	}
	if err == nil {
		err = store.Create(ctx, name, nil)
	}
	if err == nil || errdefs.IsAlreadyExists(err) {
		err = store.SetLabel(ctx, name, defaultSnapshotterLabel, SnapshotterName)
	}
	if err != nil {
		return fmt.Errorf("prepare namespace %q: %w", name, err)
	}
	return nil
}

// defaultSnapshotterLabel is where containerd's clients look for the snapshotter to use in a namespace.
const defaultSnapshotterLabel = "containerd.io/defaults/snapshotter"
