package ref

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/snapshotter"
)

const testNamespace = "test"

// host is a containerd in the test's process, as the composition root makes it.
type host struct {
	dir  string
	db   *metadata.DB
	meta *bolt.DB
	// updates counts metadata transactions.
	updates *countingDB
	backend snapshots.Snapshotter
	cfg     Config
	closers []func() error
}

// countingDB counts write transactions on containerd's metadata.
type countingDB struct {
	*bolt.DB
	mu sync.Mutex
	n  int
}

func (c *countingDB) Update(fn func(*bolt.Tx) error) error {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.DB.Update(fn)
}

func (c *countingDB) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// hostOptions choose what the host is made of.
type hostOptions struct {
	// plain is containerd's own overlay snapshotter, without what kiln's adds.
	plain bool
	// durable syncs as in production.
	durable bool
}

// newHost starts a host in dir.
func newHost(dir string, o hostOptions) (*host, error) {
	h := &host{dir: dir}
	for _, d := range []string{"content", "snapshots", "refs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	var err error
	h.meta, err = bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: !o.durable, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	h.closers = append(h.closers, h.meta.Close)
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		return nil, err
	}
	var sn snapshots.Snapshotter
	var own *snapshotter.Snapshotter
	if o.plain {
		sn, err = overlay.NewSnapshotter(filepath.Join(dir, "snapshots"))
	} else {
		own, err = snapshotter.New(context.Background(), filepath.Join(dir, "snapshots"), snapshotter.Config{NoSyncOnCommit: !o.durable, NoMetadataSync: !o.durable})
		sn = own
	}
	if err != nil {
		return nil, err
	}
	h.backend = sn
	h.closers = append(h.closers, sn.Close)
	h.updates = &countingDB{DB: h.meta}
	h.db = metadata.NewDB(h.updates, blobs, map[string]snapshots.Snapshotter{"kiln": sn})
	if err := h.db.Init(context.Background()); err != nil {
		return nil, err
	}
	d := adapter{differ.New(h.db.ContentStore(), differ.Config{})}
	h.cfg = Config{
		Root:            filepath.Join(dir, "refs"),
		Namespace:       testNamespace,
		Snapshotter:     h.db.Snapshotter("kiln"),
		SnapshotterName: "kiln",
		Content:         h.db.ContentStore(),
		Leases:          metadata.NewLeaseManager(h.db),
		Comparer:        d,
		Applier:         d,
		GC: func(ctx context.Context) error {
			_, err := h.db.GarbageCollect(ctx)
			return err
		},
	}
	if own != nil {
		h.cfg.Layers = own
		h.cfg.IndexDir = differ.IndexDir
		h.cfg.Rebaser = rebaser{}
		h.cfg.Mount = snapshotter.Mount
		h.cfg.LayerOpts = []snapshots.Opt{snapshotter.WithVolatile()}
		h.cfg.Merge = func(ctx context.Context, key string, spans []Span) ([]mount.Mount, error) {
			var list []snapshotter.Span
			for _, s := range spans {
				list = append(list, snapshotter.Span(s))
			}
			return snapshotter.Merge(ctx, h.cfg.Snapshotter, key, list)
		}
	}
	return h, nil
}

func (h *host) close() error {
	var errs []error
	for _, c := range slices.Backward(h.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// adapter makes kiln's differ what a Store wants.
type adapter struct{ d *differ.Differ }

var mediaTypes = map[string]string{
	Gzip:         ocispecs.MediaTypeImageLayerGzip,
	Zstd:         ocispecs.MediaTypeImageLayerZstd,
	Uncompressed: ocispecs.MediaTypeImageLayer,
}

func (a adapter) CompareLayer(ctx context.Context, lower, upper []mount.Mount, opt CompareOptions) (Layer, *layerindex.Index, error) {
	o := differ.CompareOptions{MediaType: mediaTypes[opt.Compression], Level: opt.Level}
	if opt.Epoch != nil {
		o.Diff = append(o.Diff, diff.WithSourceDateEpoch(opt.Epoch))
	}
	l, err := a.d.CompareLayer(ctx, lower, upper, o)
	return Layer{Descriptor: l.Descriptor, DiffID: l.DiffID}, l.Index, err
}

func (a adapter) ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, progress func(int64)) (digest.Digest, *layerindex.Index, error) {
	var opts []diff.ApplyOpt
	if progress != nil {
		opts = append(opts, diff.WithProgress(func(_ ocispecs.Descriptor, n int64) { progress(n) }))
	}
	res, err := a.d.ApplyLayer(ctx, desc, mounts, opts...)
	return res.Descriptor.Digest, res.Index, err
}

// rebaser is what kiln's differ knows about layer directories.
type rebaser struct{}

func (rebaser) Portable(ctx context.Context, lower, upper []mount.Mount) (bool, error) {
	return differ.PortableLayer(ctx, lower, upper)
}

func (rebaser) Rebase(ctx context.Context, lower, upper []mount.Mount, dir string) error {
	return differ.RebaseLayer(ctx, lower, upper, dir)
}

// fixture is a Store on a host of its own.
type fixture struct {
	*Store
	t    *testing.T
	host *host
}

// hosts runs fn on both kinds of host.
func hosts(t *testing.T, fn func(t *testing.T, f *fixture)) {
	for _, o := range []hostOptions{{}, {plain: true}} {
		name := "kiln"
		if o.plain {
			name = "plain"
		}
		t.Run(name, func(t *testing.T) { fn(t, newFixture(t, o)) })
	}
}

func newFixture(t *testing.T, o hostOptions, change ...func(*Config)) *fixture {
	t.Helper()
	h, err := newHost(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, host: h}
	for _, c := range change {
		c(&h.cfg)
	}
	f.open()
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), h.close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	s, err := Open(f.t.Context(), f.host.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Store = s
}

// reopen closes the Store as at the end of a process and opens it again.
func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

// files are what a layer changes: a value "-" removes the path, "/" makes a
// directory, "->x" a symbolic link; all else is content.
type files map[string]string

// write changes the tree below dir.
func (fs files) write(t testing.TB, dir string) {
	t.Helper()
	var paths []string
	for p := range fs {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		full, v := filepath.Join(dir, p), fs[p]
		var err error
		if v == "-" {
			err = os.RemoveAll(full)
		} else if err = os.MkdirAll(filepath.Dir(full), 0o755); err == nil {
			switch {
			case v == "/":
				err = os.MkdirAll(full, 0o755)
			case strings.HasPrefix(v, "->"):
				_ = os.Remove(full)
				err = os.Symlink(v[2:], full)
			default:
				err = os.WriteFile(full, []byte(v), 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// layer makes a ref over parent.
func (f *fixture) layer(parent *Ref, fs files, opts ...Option) *Ref {
	f.t.Helper()
	a, err := f.Prepare(f.t.Context(), parent, opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	dir, release, err := a.Dir(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	fs.write(f.t, dir)
	if err := release(); err != nil {
		f.t.Fatal(err)
	}
	r, err := a.Commit(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// tree reads all regular files and links of a ref.
func (f *fixture) files(r *Ref) files {
	f.t.Helper()
	dir, release, err := r.Dir(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			f.t.Fatal(err)
		}
	}()
	out := files{}
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			out[rel] = string(b)
			return err
		case d.Type()&os.ModeSymlink != 0:
			l, err := os.Readlink(p)
			out[rel] = "->" + l
			return err
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *fixture) keep(r *Ref) {
	f.t.Helper()
	if err := f.Keep(f.t.Context(), r); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) release(refs ...*Ref) {
	f.t.Helper()
	for _, r := range refs {
		if err := r.Release(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// left says what is left of a host after a collection.
type left struct{ snapshots, leases, blobs, records, mounts, backend int }

func (f *fixture) left() left {
	f.t.Helper()
	ctx := namespaces.WithNamespace(f.t.Context(), testNamespace)
	var l left
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	// A layer that a stack was made of may need a second collection, and those
	// look at snapshots only when one was removed.
	for range 2 {
		must(f.host.cfg.GC(ctx))
		_, err := f.host.cfg.Snapshotter.Prepare(ctx, "touch", "")
		must(err)
		must(f.host.cfg.Snapshotter.Remove(ctx, "touch"))
	}
	must(f.host.cfg.GC(ctx))
	must(f.host.cfg.Snapshotter.Walk(ctx, func(context.Context, snapshots.Info) error {
		l.snapshots++
		return nil
	}))
	must(f.host.cfg.Content.Walk(ctx, func(content.Info) error {
		l.blobs++
		return nil
	}))
	list, err := f.host.cfg.Leases.List(ctx)
	must(err)
	l.leases = len(slices.DeleteFunc(list, func(x leases.Lease) bool { return strings.HasPrefix(x.ID, "kiln-run-") }))
	must(f.db.each(func(*record, usedRecord, int64) error {
		l.records++
		return nil
	}))
	must(f.host.backend.Walk(ctx, func(context.Context, snapshots.Info) error {
		l.backend++
		return nil
	}))
	l.backend -= l.snapshots
	names, err := os.ReadDir(filepath.Join(f.cfg.Root, mountsDir))
	must(err)
	l.mounts = len(names)
	return l
}

func wantFile(t *testing.T, dir, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		t.Error(err)
	}
}

func writeFile(dir, name string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)
}
