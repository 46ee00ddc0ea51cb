package exporttest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Namespace is where a Host keeps everything.
const Namespace = "test"

// SnapshotterName is the name of a Host's snapshotter.
const SnapshotterName = "kiln"

// Host is a containerd in this process with a ref store on it.
type Host struct {
	Content     content.Store
	Leases      leases.Manager
	Images      images.Store
	Snapshotter snapshots.Snapshotter
	// Backend is the snapshotter below the metadata.
	Backend *snapshotter.Snapshotter
	Applier diff.Applier
	Refs    *ref.Store

	t  testing.TB
	db *metadata.DB
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
	t.Cleanup(func() { must(meta.Close()) })
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	must(err)
	h := &Host{t: t}
	h.Backend, err = snapshotter.New(t.Context(), filepath.Join(dir, "snapshots"), snapshotter.Config{NoSyncOnCommit: true, NoMetadataSync: true})
	must(err)
	t.Cleanup(func() { must(h.Backend.Close()) })
	h.db = metadata.NewDB(meta, blobs, map[string]snapshots.Snapshotter{SnapshotterName: h.Backend})
	must(h.db.Init(t.Context()))
	h.Content, h.Leases = h.db.ContentStore(), metadata.NewLeaseManager(h.db)
	h.Images, h.Snapshotter = metadata.NewImageStore(h.db), h.db.Snapshotter(SnapshotterName)
	d := differ.New(h.Content, differ.Config{})
	h.Applier = d
	h.Refs, err = ref.Open(t.Context(), ref.Config{
		Root: filepath.Join(dir, "refs"), Namespace: Namespace,
		Snapshotter: h.Snapshotter, SnapshotterName: SnapshotterName,
		Content: h.Content, Leases: h.Leases,
		Comparer: layers{d}, Applier: layers{d}, Layers: h.Backend, IndexDir: differ.IndexDir,
		Mount: snapshotter.Mount,
	})
	must(err)
	t.Cleanup(func() { must(h.Refs.Close()) })
	return h
}

// Context returns the test's context in the Host's namespace.
func (h *Host) Context() context.Context {
	return namespaces.WithNamespace(h.t.Context(), Namespace)
}

// Collect runs containerd's collector and returns the digests of the blobs
// that are left.
func (h *Host) Collect() []digest.Digest {
	h.t.Helper()
	if _, err := h.db.GarbageCollect(h.Context()); err != nil {
		h.t.Fatal(err)
	}
	var left []digest.Digest
	err := h.Content.Walk(h.Context(), func(i content.Info) error {
		left = append(left, i.Digest)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return left
}

// Read returns a blob.
func (h *Host) Read(desc ocispecs.Descriptor) []byte {
	h.t.Helper()
	data, err := content.ReadBlob(h.Context(), h.Content, desc)
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

// Time dates the files and refs that a Host makes.
var Time = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// Files are what a layer adds: contents by path, "->x" for a symbolic link,
// "=x" for a hard link, "/" for a directory, "-" to remove what is there.
type Files map[string]string

// Ref makes a layer over parent, nil for the first, held for the test.
func (h *Host) Ref(parent *ref.Ref, files Files) *ref.Ref {
	h.t.Helper()
	a, err := h.Refs.Prepare(h.t.Context(), parent, ref.WithDescription("RUN test"), ref.WithCreatedAt(Time))
	if err != nil {
		h.t.Fatal(err)
	}
	dir, release, err := a.Dir(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	files.write(h.t, dir)
	if err := release(); err != nil {
		h.t.Fatal(err)
	}
	r, err := a.Commit(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := r.Release(context.WithoutCancel(h.t.Context())); err != nil {
			h.t.Error(err)
		}
	})
	return r
}

func (f Files) write(t testing.TB, dir string) {
	t.Helper()
	var paths []string
	for p := range f {
		paths = append(paths, p)
	}
	// Hard links last: what they link to must be there.
	slices.SortFunc(paths, func(a, b string) int {
		linkA, linkB := strings.HasPrefix(f[a], "="), strings.HasPrefix(f[b], "=")
		switch {
		case linkA == linkB:
			return strings.Compare(a, b)
		case linkA:
			return 1
		}
		return -1
	})
	for _, p := range paths {
		full, v := filepath.Join(dir, p), f[p]
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if err == nil {
			switch {
			case v == "-":
				err = os.RemoveAll(full)
			case v == "/":
				err = os.MkdirAll(full, 0o755)
			case strings.HasPrefix(v, "->"):
				err = os.Symlink(v[2:], full)
			case strings.HasPrefix(v, "="):
				err = os.Link(filepath.Join(dir, v[1:]), full)
			default:
				err = os.WriteFile(full, []byte(v), 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	date(t, dir)
}

// date gives everything in a tree one time, directories after their contents.
func date(t testing.TB, dir string) {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, p)
		case d.Type().IsRegular():
			return os.Chtimes(p, Time, Time)
		case d.Type()&os.ModeSymlink != 0:
			at := unix.NsecToTimespec(Time.UnixNano())
			return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range slices.Backward(dirs) {
		if err := os.Chtimes(d, Time, Time); err != nil {
			t.Fatal(err)
		}
	}
}

// layers makes kiln's differ what a ref store wants.
type layers struct{ d *differ.Differ }

var mediaTypes = map[string]string{
	ref.Gzip: ocispecs.MediaTypeImageLayerGzip, ref.Zstd: ocispecs.MediaTypeImageLayerZstd,
	ref.Uncompressed: ocispecs.MediaTypeImageLayer,
}

// CompareLayer implements ref.LayerComparer.
func (a layers) CompareLayer(ctx context.Context, lower, upper []mount.Mount, opt ref.CompareOptions) (ref.Layer, *layerindex.Index, error) {
	o := differ.CompareOptions{MediaType: mediaTypes[opt.Compression], Level: opt.Level}
	if opt.Epoch != nil {
		o.Diff = append(o.Diff, diff.WithSourceDateEpoch(opt.Epoch))
	}
	l, err := a.d.CompareLayer(ctx, lower, upper, o)
	return ref.Layer{Descriptor: l.Descriptor, DiffID: l.DiffID}, l.Index, err
}

// ApplyLayer implements ref.LayerApplier.
func (a layers) ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, progress func(int64)) (digest.Digest, *layerindex.Index, error) {
	var opts []diff.ApplyOpt
	if progress != nil {
		opts = append(opts, diff.WithProgress(func(_ ocispecs.Descriptor, n int64) { progress(n) }))
	}
	res, err := a.d.ApplyLayer(ctx, desc, mounts, opts...)
	return res.Descriptor.Digest, res.Index, err
}
