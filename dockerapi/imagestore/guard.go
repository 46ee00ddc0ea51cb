package imagestore

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxEntries bounds an archive of images, maxPath the names in it.
	maxEntries = 50_000
	maxPath    = 1024
	// maxRatio bounds how many bytes may come of one, once there are more than
	// Config.Plain, by default defaultPlain: zeros of a test are no attack.
	maxRatio     = 300
	defaultPlain = 1 << 30
)

// archiveDocuments are the files of an archive that are read into memory.
var archiveDocuments = map[string]bool{
	"manifest.json": true, "repositories": true, ocispecs.ImageLayoutFile: true, ocispecs.ImageIndexFile: true,
}

// guard passes an archive of images on if it looks like one. Its entries never
// become files, so names cannot lead anywhere; what is refused here is what
// would cost without bounds or could be understood in two ways.
type guard struct {
	entries int
	seen    map[string]bool
}

// copy reads an archive and writes what is left of it: files, directories and
// symbolic links, with headers of its own making.
func (g *guard) copy(w io.Writer, r io.Reader) error {
	g.seen = map[string]bool{}
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return invalid("archive is damaged: %w", err)
		}
		if err := g.check(hdr); err != nil {
			return err
		}
		clean := &tar.Header{Typeflag: hdr.Typeflag, Name: hdr.Name, Linkname: hdr.Linkname, Size: hdr.Size, Mode: 0o644, Format: tar.FormatPAX}
		if err := tw.WriteHeader(clean); err != nil {
			return fmt.Errorf("pass on entry %q: %w", hdr.Name, err)
		}
		if _, err := io.Copy(tw, tr); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return invalid("archive ends in entry %q: %w", hdr.Name, err)
			}
			return fmt.Errorf("pass on entry %q: %w", hdr.Name, err)
		}
	}
	if g.entries == 0 {
		return invalid("archive is empty: want images as written by docker save, or an OCI layout")
	}
	return tw.Close()
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", fmt.Errorf(format, args...), errdefs.ErrInvalidArgument)
}

// check refuses entries that no archive of images has.
func (g *guard) check(hdr *tar.Header) error {
	if g.entries++; g.entries > maxEntries {
		return invalid("archive has more than %d entries", maxEntries)
	}
	name := path.Clean(hdr.Name)
	switch {
	case len(hdr.Name) > maxPath || len(hdr.Linkname) > maxPath:
		return invalid("entry %q… has a name of more than %d bytes", hdr.Name[:min(64, len(hdr.Name))], maxPath)
	case path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../"):
		return invalid("entry %q is outside of the archive", hdr.Name)
	}
	switch hdr.Typeflag {
	case tar.TypeDir, tar.TypeSymlink:
		hdr.Size = 0
		return nil
	case tar.TypeReg:
	default:
		return invalid("entry %q is of type %q: want files, directories and symbolic links", hdr.Name, hdr.Typeflag)
	}
	if g.seen[name] {
		return invalid("archive has two entries %q", name)
	}
	g.seen[name] = true
	if archiveDocuments[name] && hdr.Size > maxManifest {
		return invalid("%s has %d bytes, more than the limit of %d", name, hdr.Size, maxManifest)
	}
	return nil
}

// ratio refuses streams that grow out of all proportion.
type ratio struct {
	in      *int64 // bytes before, counted by the reader below
	from    int64
	out     int64
	decoded io.Reader
}

// Read reads and counts.
func (r *ratio) Read(p []byte) (int, error) {
	n, err := r.decoded.Read(p)
	r.out += int64(n)
	if r.out > r.from && r.out/maxRatio > *r.in {
		return n, invalid("%d bytes of archive came of %d compressed ones, which is more than %d times as many", r.out, *r.in, maxRatio)
	}
	return n, err
}

// inCounter counts what is read.
type inCounter struct {
	r io.Reader
	n int64
}

// Read reads and counts.
func (c *inCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
