package diff

import (
	"context"
	"fmt"
	"runtime"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// indexQueue is how many opened files wait for a hashing goroutine.
const indexQueue = 32

// Index reads one overlayfs layer directory and returns its index: entries are
// those of the directory, whiteouts and opaque directories included. Files are
// hashed on all cores. No tar is made.
//
// It answers ErrNeedsMount for a layer that is not self-contained.
func Index(ctx context.Context, dir string, userXattr bool) (*layerindex.Index, error) {
	root, err := inode.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	ix := &indexer{
		attrs: Pair{UserXattr: userXattr}.attrs(),
		links: map[inodeKey]*layerindex.Entry{},
		jobs:  make(chan hashJob, indexQueue),
	}
	group, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error { return hashFiles(ix.jobs) })
	}
	group.Go(func() error {
		defer close(ix.jobs)
		st, err := inode.Fstat(root)
		if err != nil {
			return err
		}
		top := inode.Describe("", &st)
		if err := inode.ReadXattrs(root, "", top, ix.attrs.Foreign); err != nil {
			return err
		}
		top.Seal()
		ix.entries = append(ix.entries, top)
		return ix.walk(ctx, "", root)
	})
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("index %s: %w", dir, err)
	}
	return ix.finish()
}

// hashJob is an opened file on its way to be hashed. The worker closes it.
type hashJob struct {
	fd    int
	entry *layerindex.Entry
}

// hashFiles works off jobs. After an error it goes on closing files, so that the
// walk never blocks on a full queue.
func hashFiles(jobs <-chan hashJob) error {
	hasher := layerindex.NewHasher()
	buf := make([]byte, copyBuffer)
	var failed error
	for job := range jobs {
		if failed == nil {
			failed = inode.Hash(job.fd, job.entry, hasher, buf)
		}
		unix.Close(job.fd)
	}
	return failed
}

// indexer walks a layer directory. The entries are in order of the walk, which
// is path order; hashing fills them in later.
type indexer struct {
	attrs   overlay.Attrs
	entries []*layerindex.Entry
	links   map[inodeKey]*layerindex.Entry
	jobs    chan hashJob
}

// walk describes everything below a directory.
func (ix *indexer) walk(ctx context.Context, path string, dir int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := inode.Names(dir)
	if err != nil {
		return fmt.Errorf("list %q: %w", path, err)
	}
	for _, name := range names {
		child := name
		if path != "" {
			child = path + "/" + name
		}
		if len(child) > maxPath {
			return fmt.Errorf("path of %d bytes is too long for a layer", len(child))
		}
		if err := ix.visit(ctx, child, dir, name); err != nil {
			return err
		}
	}
	return nil
}

// visit describes one file.
func (ix *indexer) visit(ctx context.Context, path string, dir int, name string) error {
	st, err := inode.Lstat(dir, name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	white, err := ix.attrs.IsWhiteout(dir, name, &st)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if white {
		ix.entries = append(ix.entries, &layerindex.Entry{Path: path, Kind: layerindex.Whiteout})
		return nil
	}
	e := inode.Describe(path, &st)
	ix.entries = append(ix.entries, e)
	if e.Kind == layerindex.Regular {
		return ix.regular(dir, name, &st, e)
	}
	if e.Kind != layerindex.Directory {
		return inode.Read(dir, name, e, ix.attrs.Foreign)
	}
	sub, err := inode.OpenDir(dir, name)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(sub)
	if e.Opaque, err = ix.attrs.IsOpaque(sub); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if err := inode.ReadXattrs(sub, "", e, ix.attrs.Foreign); err != nil {
		return err
	}
	e.Seal()
	return ix.walk(ctx, path, sub)
}

// regular hands a file to the hashing goroutines, once per inode.
func (ix *indexer) regular(dir int, name string, st *inode.Stat, e *layerindex.Entry) error {
	key := inodeKey{st.Dev, st.Ino}
	if st.Nlink > 1 {
		if first := ix.links[key]; first != nil {
			e.LinkName = first.Path
			return nil
		}
		ix.links[key] = e
	}
	_, meta, err := inode.GetXattr(dir, name, string(ix.attrs)+"metacopy")
	if err == nil && meta {
		err = ErrNeedsMount
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", e.Path, err)
	}
	if err := inode.ReadXattrs(dir, name, e, ix.attrs.Foreign); err != nil {
		return err
	}
	if e.Size == 0 {
		e.Seal()
		return nil
	}
	fd, err := inode.OpenFile(dir, name)
	if err != nil {
		return fmt.Errorf("open %s: %w", e.Path, err)
	}
	ix.jobs <- hashJob{fd: fd, entry: e}
	return nil
}

// finish copies the digests of first names to their links and builds the index.
func (ix *indexer) finish() (*layerindex.Index, error) {
	b := layerindex.NewBuilder()
	for _, e := range ix.entries {
		if e.Kind == layerindex.Regular && e.LinkName != "" {
			b.Link(e.Path, e.LinkName) // the first name precedes in path order
			continue
		}
		b.Put(e)
	}
	return b.Index()
}
