package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// world is a store of refs on kiln's snapshotter.
type world struct {
	t     testing.TB
	store *ref.Store
	// left counts snapshots and mounts after a collection.
	left func() int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	unix.Umask(0)
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
	sn, err := snapshotter.New(context.Background(), filepath.Join(dir, "snapshots"), snapshotter.Config{NoSyncOnCommit: true, NoMetadataSync: true})
	must(err)
	db := metadata.NewDB(meta, blobs, map[string]snapshots.Snapshotter{"kiln": sn})
	must(db.Init(context.Background()))
	d := layers{differ.New(db.ContentStore(), differ.Config{})}
	cfg := ref.Config{
		Root: filepath.Join(dir, "refs"), Namespace: "test", SnapshotterName: "kiln",
		Snapshotter: db.Snapshotter("kiln"), Content: db.ContentStore(), Leases: metadata.NewLeaseManager(db),
		Comparer: d, Applier: d, Layers: sn, IndexDir: differ.IndexDir, Mount: snapshotter.Mount,
	}
	cfg.Merge = func(ctx context.Context, key string, spans []ref.Span) ([]mount.Mount, error) {
		var list []snapshotter.Span
		for _, s := range spans {
			list = append(list, snapshotter.Span(s))
		}
		return snapshotter.Merge(ctx, cfg.Snapshotter, key, list)
	}
	store, err := ref.Open(context.Background(), cfg)
	must(err)
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), sn.Close(), meta.Close()); err != nil {
			t.Error(err)
		}
	})
	left := func() int {
		ctx := namespaces.WithNamespace(context.Background(), "test")
		_, err := db.GarbageCollect(ctx)
		must(err)
		mounts, err := os.ReadDir(filepath.Join(dir, "refs", "mounts"))
		must(err)
		n := len(mounts)
		must(cfg.Snapshotter.Walk(ctx, func(context.Context, snapshots.Info) error {
			n++
			return nil
		}))
		return n
	}
	return &world{t: t, store: store, left: left}
}

// layers makes kiln's differ what a Store wants.
type layers struct{ d *differ.Differ }

func (l layers) CompareLayer(ctx context.Context, lower, upper []mount.Mount, _ ref.CompareOptions) (ref.Layer, *layerindex.Index, error) {
	out, err := l.d.CompareLayer(ctx, lower, upper, differ.CompareOptions{MediaType: ocispecs.MediaTypeImageLayer})
	return ref.Layer{Descriptor: out.Descriptor, DiffID: out.DiffID}, out.Index, err
}

func (l layers) ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, _ func(int64)) (digest.Digest, *layerindex.Index, error) {
	out, err := l.d.ApplyLayer(ctx, desc, mounts)
	return out.Descriptor.Digest, out.Index, err
}

// layer makes a ref over parent by changing the mounted file system.
func (w *world) layer(parent *ref.Ref, change func(dir string)) *ref.Ref {
	w.t.Helper()
	ctx := context.Background()
	a, err := w.store.Prepare(ctx, parent)
	if err != nil {
		w.t.Fatal(err)
	}
	dir, release, err := a.Dir(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	change(dir)
	if err := release(); err != nil {
		w.t.Fatal(err)
	}
	r, err := a.Commit(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// files describes a tree, one line for each file: "path", then one of "/" for a
// directory, "->target", "|" for a pipe, "=other" for a hard link, or
// ":content"; optionally preceded by a mode and an owner as in "0755 1:2 path".
func (w *world) files(parent *ref.Ref, lines ...string) *ref.Ref {
	w.t.Helper()
	return w.layer(parent, func(dir string) {
		for _, l := range lines {
			if err := writeLine(dir, l); err != nil {
				w.t.Fatalf("%q: %v", l, err)
			}
		}
	})
}

func writeLine(dir, line string) error {
	mode, uid, gid := -1, 0, 0
	if _, err := fmt.Sscanf(line, "0%o %d:%d ", &mode, &uid, &gid); err == nil {
		line = strings.SplitN(line, " ", 3)[2]
	}
	at := strings.IndexAny(line, ":|=>")
	kind, rest := byte('/'), ""
	p := filepath.Join(dir, line)
	if at >= 0 {
		kind, rest = line[at], line[at+1:]
		p = filepath.Join(dir, strings.TrimSuffix(line[:at], "-"))
	}
	err := os.MkdirAll(filepath.Dir(p), 0o755)
	if err != nil {
		return err
	}
	switch kind {
	case '/':
		err = os.MkdirAll(p, 0o755)
	case '>':
		err = os.Symlink(rest, p)
	case '|':
		err = unix.Mkfifo(p, 0o644)
	case '=':
		err = os.Link(filepath.Join(dir, rest), p)
	case ':':
		err = os.WriteFile(p, []byte(rest), 0o644)
	}
	if err != nil || mode < 0 {
		return err
	}
	return errors.Join(os.Lchown(p, uid, gid), unix.Chmod(p, uint32(mode)))
}

// describe lists a tree in the language of files. Owners and modes are left
// out where they are the usual ones.
func (w *world) describe(r *ref.Ref) []string {
	w.t.Helper()
	dir, release, err := r.Dir(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	defer release()
	return describeDir(w.t, dir)
}

func describeDir(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		usual, text := uint32(0o644), ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			usual, text = 0o755, "/"
		case unix.S_IFLNK:
			target, _ := os.Readlink(p)
			usual, text = 0o777, "->"+target
		case unix.S_IFIFO:
			text = "|"
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if text = ":" + string(b); first[st.Ino] != "" {
				text = "=" + first[st.Ino]
			}
			first[st.Ino] = rel
		default:
			text = fmt.Sprintf("!%d", st.Rdev)
		}
		line := rel + text
		if st.Mode&permBits != usual || st.Uid != 0 || st.Gid != 0 {
			line = fmt.Sprintf("%#o %d:%d %s", st.Mode&permBits, st.Uid, st.Gid, line)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// do runs one op and returns its outputs.
func (w *world) do(cfg Config, inputs []*ref.Ref, actions ...*pb.FileAction) ([]*ref.Ref, error) {
	cfg.Refs = w.store
	op, err := New(cfg, &pb.FileOp{Actions: actions}, len(inputs), "test")
	if err != nil {
		return nil, err
	}
	results := make([]solver.Result, len(inputs))
	for i, in := range inputs {
		if in != nil {
			results[i] = in
		}
	}
	out, err := op.Run(context.Background(), nil, results)
	var refs []*ref.Ref
	for _, o := range out {
		r, _ := ref.From(o)
		refs = append(refs, r)
	}
	return refs, err
}

// copyOf is a copy action from input 1 onto input 0, with the flags Dockerfiles
// use unless changed.
func copyOf(src, dest string, change ...func(*pb.FileActionCopy)) *pb.FileAction {
	c := &pb.FileActionCopy{
		Src: src, Dest: dest, Mode: -1, Timestamp: -1, FollowSymlink: true, DirCopyContents: true,
		CreateDestPath: true, AllowWildcard: true,
	}
	for _, fn := range change {
		fn(c)
	}
	return &pb.FileAction{SecondaryInput: 1, Action: &pb.FileAction_Copy{Copy: c}}
}

func mkdirOf(p string, change ...func(*pb.FileActionMkDir)) *pb.FileAction {
	a := &pb.FileActionMkDir{Path: p, Mode: 0o755, Timestamp: -1}
	for _, fn := range change {
		fn(a)
	}
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: a}}
}

func mkfileOf(p, data string) *pb.FileAction {
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Mkfile{
		Mkfile: &pb.FileActionMkFile{Path: p, Mode: 0o644, Data: []byte(data), Timestamp: -1},
	}}
}

func rmOf(p string, wildcard, missing bool) *pb.FileAction {
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Rm{
		Rm: &pb.FileActionRm{Path: p, AllowWildcard: wildcard, AllowNotFound: missing},
	}}
}

func symlinkOf(target, p string) *pb.FileAction {
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Symlink{
		Symlink: &pb.FileActionSymlink{Oldpath: target, Newpath: p, Timestamp: -1},
	}}
}

// chained makes actions follow each other, with a single output.
func chained(inputs int, actions ...*pb.FileAction) []*pb.FileAction {
	for i, a := range actions {
		a.Output = none
		if i > 0 {
			a.Input = int64(inputs + i - 1)
		}
	}
	actions[len(actions)-1].Output = 0
	return actions
}
