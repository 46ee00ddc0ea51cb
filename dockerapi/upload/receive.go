package upload

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/differ/compress"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// Limits are what one archive may cost; 0 is the default.
type Limits struct {
	// Entries bounds names, given or implied.
	Entries int
	// Headers bounds names, link targets and attributes together, in bytes.
	Headers int64
	// Size bounds the bytes of all files, decompressed.
	Size int64
	// Free is how many bytes the disk must still have afterwards.
	Free int64
}

// Defaults of Limits.
const (
	DefaultEntries = 1_000_000
	DefaultHeaders = 256 << 20
	DefaultSize    = 128 << 30
	DefaultFree    = 256 << 20
)

func (l Limits) withDefaults() Limits {
	set := func(to *int64, def int64) {
		if *to == 0 {
			*to = def
		}
	}
	if l.Entries == 0 {
		l.Entries = DefaultEntries
	}
	set(&l.Headers, DefaultHeaders)
	set(&l.Size, DefaultSize)
	set(&l.Free, DefaultFree)
	return l
}

const (
	// maxPath bounds a name, and what a symbolic link points to, in bytes.
	maxPath = 4096
	// checkEvery is how many bytes are written between two looks at the disk.
	checkEvery = 16 << 20
	// maxRest bounds what is read behind the end of an archive: clients wait
	// until all they send is taken.
	maxRest = 64 << 20
)

// Receive takes an archive in, spooling its files below dir. Errors that are the
// archive's fault are errdefs InvalidArgument and name the entry. ctx ends the
// reading between two pieces; what ends a read that hangs is the reader's
// business.
func Receive(ctx context.Context, body io.Reader, dir string, limits Limits) (_ *Context, err error) {
	spool, err := os.CreateTemp(dir, "context-")
	if err != nil {
		return nil, fmt.Errorf("spool context: %w", err)
	}
	r := &receiver{
		Context: &Context{spool: spool, nodes: map[string]*node{}}, limits: limits.withDefaults(), ctx: ctx, checkAt: checkEvery,
		piece: make([]byte, pieceSize),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	// Without a name nothing of it is left, whatever happens.
	if err := os.Remove(spool.Name()); err != nil {
		return nil, fmt.Errorf("spool context: %w", err)
	}
	in, err := compress.NewReader(body, compress.Limits{})
	if err != nil {
		return nil, fmt.Errorf("build context is not an archive: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	defer in.Close()
	sum := digest.Canonical.Digester()
	if err := r.receive(io.TeeReader(in, sum.Hash())); err != nil {
		return nil, err
	}
	r.sum = sum.Digest()
	// A fault behind the end is nobody's business.
	_, _ = io.CopyN(io.Discard, body, maxRest)
	r.finish()
	return r.Context, nil
}

// receiver is one archive being read.
type receiver struct {
	*Context
	limits Limits
	ctx    context.Context //nolint:containedctx // lives as long as one call
	// count numbers the entries of the archive, headers and size add up what
	// was taken, checkAt is the size at which the disk is looked at.
	count         int
	headers, size int64
	checkAt       int64
	// piece is what files are copied through: one for all, as an archive may
	// have a million.
	piece []byte
}

// pieceSize is how much of a file is copied at a time, in bytes.
const pieceSize = 64 << 10

func (r *receiver) receive(in io.Reader) error {
	archive := tar.NewReader(in)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return r.broken(err)
		}
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		r.count++
		if err := r.entry(header, archive); err != nil {
			return fmt.Errorf("build context, entry %d (%.200q): %w", r.count, header.Name, err)
		}
	}
}

// broken tells what is wrong with an archive that cannot be read on.
func (r *receiver) broken(err error) error {
	if r.count == 0 {
		return fmt.Errorf("build context is not a tar archive, compressed or not: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return fmt.Errorf("build context breaks off after %d entries: %w: %w", r.count, err, errdefs.ErrInvalidArgument)
}

func refuse(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// entry takes one entry in.
func (r *receiver) entry(header *tar.Header, body io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := entryName(header.Name)
	if err != nil {
		return err
	}
	if name == "" {
		return nil
	}
	if err := r.parents(name); err != nil {
		return err
	}
	n := &node{stat: describe(name, header)}
	switch header.Typeflag {
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeSymlink:
		if n.stat.Linkname = header.Linkname; header.Linkname == "" || len(header.Linkname) > maxPath {
			return refuse("a symbolic link to %d bytes", len(header.Linkname))
		}
	case tar.TypeLink:
		if err := r.link(n, header.Linkname); err != nil {
			return err
		}
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		if n.file, err = r.store(body); err != nil {
			return err
		}
		n.stat.Size = n.file.size
	case tar.TypeChar, tar.TypeBlock:
		return refuse("device nodes are not allowed in a build context")
	default:
		return refuse("entries of type %q are not known", header.Typeflag)
	}
	return r.put(name, n)
}

// entryName checks and cleans a name; "" is the root. Names are those of nodes,
// not of files of this machine, so one that leads out of the context (path
// traversal) is taken as if the context were the root of all: what an engine
// does, too.
func entryName(name string) (string, error) {
	if len(name) > maxPath {
		return "", refuse("a name of %d bytes, at most %d are allowed", len(name), maxPath)
	}
	if strings.ContainsRune(name, 0) {
		return "", refuse("a name with a zero byte")
	}
	return clean(name), nil
}

// describe says what a header does, in the words of the transfer. Attributes
// that mean something to the overlay of layers, or to this machine, stay behind.
func describe(name string, header *tar.Header) *fsutil.Stat {
	st := &fsutil.Stat{Path: name, Mode: uint32(header.FileInfo().Mode())}
	if header.Typeflag == tar.TypeLink {
		st.Mode &= uint32(fs.ModePerm)
	}
	if t := header.ModTime; t.Year() >= 1970 && t.Year() < 2200 {
		st.ModTime = t.UnixNano()
	}
	for key, value := range header.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || attr != "security.capability" && (!strings.HasPrefix(attr, "user.") || strings.HasPrefix(attr, "user.overlay.")) {
			continue
		}
		if st.Xattrs == nil {
			st.Xattrs = map[string][]byte{}
		}
		st.Xattrs[attr] = []byte(value)
	}
	return st
}

// parents makes the directories that an archive implies.
func (r *receiver) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if n, ok := r.nodes[dir]; ok {
		if !n.mode().IsDir() {
			return refuse("it lies below %q, which is no directory", dir)
		}
		return nil
	}
	if err := r.parents(dir); err != nil {
		return err
	}
	return r.put(dir, &node{stat: &fsutil.Stat{Path: dir, Mode: uint32(fs.ModeDir | 0o755)}})
}

// put gives a name to a node; what had the name before is forgotten.
func (r *receiver) put(name string, n *node) error {
	r.headers += int64(len(name) + len(n.stat.GetLinkname()))
	for k, v := range n.stat.GetXattrs() {
		r.headers += int64(len(k) + len(v))
	}
	if r.headers > r.limits.Headers {
		return refuse("the context has more than %d bytes of names and attributes", r.limits.Headers)
	}
	old, again := r.nodes[name]
	if again {
		if old.below > 0 && !n.mode().IsDir() {
			return refuse("it takes the place of a directory with files in it")
		}
		n.below = old.below
		if old.file != nil {
			old.file.names--
		}
	} else {
		if len(r.nodes) >= r.limits.Entries {
			return refuse("the context has more than %d files", r.limits.Entries)
		}
		if parent := r.nodes[path.Dir(name)]; parent != nil {
			parent.below++
		}
	}
	if n.file != nil {
		n.file.names++
	}
	r.nodes[name] = n
	return nil
}

// link makes a node one more name of a file.
func (r *receiver) link(n *node, target string) error {
	to, err := entryName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	old := r.nodes[to]
	if old == nil || old.file == nil {
		return refuse("a hard link to %.200q, which is no file that came before it", target)
	}
	n.file = old.file
	n.stat.Mode, n.stat.Size, n.stat.ModTime = old.stat.GetMode(), old.stat.GetSize(), old.stat.GetModTime()
	n.stat.Xattrs = maps.Clone(old.stat.GetXattrs())
	return nil
}

// store writes a file into the spool.
func (r *receiver) store(body io.Reader) (*segment, error) {
	s := &segment{offset: r.size}
	var err error
	if s.size, err = io.CopyBuffer(writer{r}, body, r.piece); err == nil {
		return s, nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, refuse("the archive breaks off")
	}
	return nil, err
}

// writer appends to the spool within the limits.
type writer struct{ r *receiver }

// Write writes all of p or fails.
func (w writer) Write(p []byte) (int, error) {
	r := w.r
	if r.size+int64(len(p)) > r.limits.Size {
		return 0, refuse("the context has more than %d bytes", r.limits.Size)
	}
	if r.size+int64(len(p)) > r.checkAt {
		r.checkAt = r.size + checkEvery
		if err := r.room(); err != nil {
			return 0, err
		}
	}
	n, err := r.spool.Write(p)
	r.size += int64(n)
	return n, err
}

// room looks whether the disk has space left, and whether anybody still waits.
func (r *receiver) room() error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	var st unix.Statfs_t
	if unix.Fstatfs(int(r.spool.Fd()), &st) == nil && int64(st.Bavail)*st.Bsize < r.limits.Free {
		return fmt.Errorf("no space left for the context after %d bytes: less than %d bytes of the disk are free: %w",
			r.size, r.limits.Free, unix.ENOSPC)
	}
	return nil
}
