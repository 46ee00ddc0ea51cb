package sourcetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
)

// Host is a containerd in this process with a ref store on it.
type Host struct {
	Refs     *ref.Store
	Sessions *session.Manager
	// Root is an empty directory for the source's own.
	Root string
}

// NewHost starts a Host for the time of the test.
func NewHost(t testing.TB) *Host {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	meta, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	must(err)
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	must(err)
	sn, err := snapshotter.New(t.Context(), filepath.Join(dir, "snapshots"), snapshotter.Config{NoSyncOnCommit: true, NoMetadataSync: true})
	must(err)
	db := metadata.NewDB(meta, blobs, map[string]snapshots.Snapshotter{"kiln": sn})
	must(db.Init(t.Context()))
	h := &Host{Sessions: session.NewManager(), Root: filepath.Join(dir, "own")}
	must(os.Mkdir(h.Root, 0o700))
	h.Refs, err = ref.Open(t.Context(), ref.Config{
		Root: filepath.Join(dir, "refs"), Namespace: "test", Snapshotter: db.Snapshotter("kiln"), SnapshotterName: "kiln",
		Content: db.ContentStore(), Leases: metadata.NewLeaseManager(db), Comparer: noLayers{}, Applier: noLayers{},
		Layers: sn, IndexDir: differ.IndexDir, Mount: snapshotter.Mount,
		LayerOpts: []snapshots.Opt{snapshotter.WithVolatile()},
		GC:        func(ctx context.Context) error { _, err := db.GarbageCollect(ctx); return err },
	})
	must(err)
	t.Cleanup(func() {
		if err := errors.Join(h.Refs.Close(), sn.Close(), meta.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Held counts the refs of all kinds that are on disk.
func (h *Host) Held(t testing.TB) int {
	t.Helper()
	list, err := h.Refs.Usage(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Dir returns the directory of a ref, for the time of the test.
func (h *Host) Dir(t testing.TB, r *ref.Ref) string {
	t.Helper()
	dir, release, err := r.Dir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(release(), r.Release(context.WithoutCancel(t.Context()))); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Remove prunes everything that nobody holds.
func (h *Host) Remove(t testing.TB) {
	t.Helper()
	if err := h.Refs.Prune(t.Context(), ref.PruneOptions{All: true}, func(ref.Usage) {}); err != nil {
		t.Fatal(err)
	}
}

// noLayers makes no blobs and takes none: sources write files.
type noLayers struct{}

func (noLayers) CompareLayer(context.Context, []mount.Mount, []mount.Mount, ref.CompareOptions) (ref.Layer, *layerindex.Index, error) {
	return ref.Layer{}, nil, errors.New("nothing is compared here")
}

func (noLayers) ApplyLayer(context.Context, ocispecs.Descriptor, []mount.Mount, func(int64)) (digest.Digest, *layerindex.Index, error) {
	return "", nil, errors.New("nothing is unpacked here")
}
