package apply

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"github.com/kilnbuild/kiln/differ/internal/overlay"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// Extract unpacks a plain tar archive below the directory root. Links on the
// way to an entry are followed as if root were the root of the file system.
// Existing files are replaced, existing directories merged; metadata of the
// archive's root entry ("./") applies to root itself.
func Extract(ctx context.Context, r io.Reader, root string, opts Options) error {
	fd, err := inode.OpenRoot(root)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return extractInto(ctx, r, fd, opts)
}

// ExtractTo is Extract into an opened directory, for callers that resolved it
// beneath a root of their own. The directory stays open.
func ExtractTo(ctx context.Context, r io.Reader, dir *os.File, opts Options) error {
	conn, err := dir.SyscallConn() // keeps dir from being closed meanwhile
	if err != nil {
		return fmt.Errorf("use directory %s: %w", dir.Name(), err)
	}
	var extractErr error
	err = conn.Control(func(fd uintptr) { extractErr = extractInto(ctx, r, int(fd), opts) })
	return errors.Join(err, extractErr)
}

// extractInto unpacks below the handle root.
func extractInto(ctx context.Context, r io.Reader, root int, opts Options) error {
	x := newExtractor(Target{}, root, opts)
	defer x.tree.close()
	return x.run(ctx, r)
}

// Layer applies an uncompressed layer tar to a target and returns the layer's
// index. It reads r up to the end marker of the tar.
//
// In a layered target the index describes exactly what is in the upper
// directory afterwards; in a tree it describes what the layer changed.
func Layer(ctx context.Context, r io.Reader, target Target, opts LayerOptions) (*layerindex.Index, error) {
	root, err := inode.OpenRoot(target.Dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	x := newExtractor(target, root, Options{Limits: opts.Limits})
	defer x.tree.close()
	x.whiteouts = true
	x.tree.replace = true
	x.hash = !opts.NoIndex
	if err := x.run(ctx, r); err != nil {
		return nil, err
	}
	if opts.NoIndex {
		return nil, nil
	}
	if err := x.putRoot(); err != nil {
		return nil, err
	}
	return x.tree.index.Index()
}

// extractor unpacks one archive.
type extractor struct {
	tree      *tree
	opts      Options
	budget    budget
	whiteouts bool
	hash      bool
	userns    bool
	hasher    *layerindex.Hasher
	buf       []byte
}

// newExtractor prepares an extractor for the opened root of target.
func newExtractor(target Target, root int, opts Options) *extractor {
	attrs := overlay.DefaultAttrs()
	if target.Layered {
		attrs = overlay.TrustedAttrs
		if target.UserXattr {
			attrs = overlay.UserAttrs
		}
	}
	return &extractor{
		tree: &tree{
			root:    node{fd: root},
			layered: target.Layered,
			lower:   target.Lower,
			attrs:   attrs,
			index:   layerindex.NewBuilder(),
			owner:   opts.Owner,
		},
		opts:   opts,
		budget: budget{limits: opts.Limits.withDefaults()},
		userns: userns.RunningInUserNS(),
		hasher: layerindex.NewHasher(),
		buf:    make([]byte, copyBuffer),
	}
}

// run unpacks every entry and then dates the directories, which their entries
// changed while they were made.
func (x *extractor) run(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := x.entry(ctx, hdr, tr); err != nil {
			return fmt.Errorf("extract %.300q: %w", hdr.Name, err)
		}
	}
	return x.dateDirectories()
}

// entry unpacks one entry.
func (x *extractor) entry(ctx context.Context, hdr *tar.Header, data io.Reader) error {
	if err := x.budget.charge(hdr); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(hdr.Name, x.budget.limits.MaxPath)
	if err != nil {
		return err
	}
	if name == "" {
		return x.rootEntry(hdr)
	}
	dir, base := splitName(name)
	if x.whiteouts && isMarker(base) {
		return x.marker(dir, base)
	}
	if hdr.Typeflag == tar.TypeLink {
		return x.hardLink(hdr, dir, base)
	}
	parent, err := x.tree.dir(dir)
	if err != nil {
		return err
	}
	return x.create(ctx, hdr, parent, base, data)
}

// rootEntry handles "./". A layer does not own the root directory; an archive
// does.
func (x *extractor) rootEntry(hdr *tar.Header) error {
	if x.whiteouts || hdr.Typeflag != tar.TypeDir {
		return nil
	}
	e := x.describe(hdr, "", layerindex.Directory)
	if err := x.applyHandle(x.tree.root.fd, e, hdr); err != nil {
		return err
	}
	x.tree.index.Put(e)
	return nil
}

// dateDirectories sets modification times from the deepest entry up.
func (x *extractor) dateDirectories() error {
	dirs := x.tree.index.Directories()
	for i := len(dirs) - 1; i >= 0; i-- {
		fd, err := inode.OpenPath(x.tree.root.fd, dirs[i].Path)
		if err != nil {
			return fmt.Errorf("date directory: %w", err)
		}
		ts := unix.NsecToTimespec(dirs[i].ModTime)
		err = setTimes(fd, ".", ts, ts)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("date directory %s: %w", dirs[i].Path, err)
		}
	}
	return nil
}

// putRoot records the root directory as it is.
func (x *extractor) putRoot() error {
	st, err := inode.Fstat(x.tree.root.fd)
	if err != nil {
		return fmt.Errorf("stat root: %w", err)
	}
	e := inode.Describe("", &st)
	if err := inode.ReadXattrs(x.tree.root.fd, "", e, x.tree.attrs.Foreign); err != nil {
		return err
	}
	e.Seal()
	x.tree.index.Put(e)
	return nil
}
