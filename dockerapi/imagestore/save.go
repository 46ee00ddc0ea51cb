package imagestore

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Archive is what Save writes.
type Archive struct {
	store *Store
	ctx   context.Context // under the lease
	opts  []archive.ExportOpt
	ids   []string
	done  func(failed bool)
}

// Save looks up images and holds them until the archive is closed. A name
// without a tag stands for all tags of the repository. Of several platforms an
// image must have each; without any, what is here is written. It fails before
// anything is written if something is not there.
func (s *Store) Save(ctx context.Context, names []string, want []ocispecs.Platform) (_ *Archive, err error) {
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release(false)
		}
	}()
	a := &Archive{store: s, ctx: ctx, done: release, opts: []archive.ExportOpt{
		archive.WithSkipNonDistributableBlobs(), archive.WithPlatform(s.archived(want)), archive.WithSkipMissing(s.cfg.Content),
	}}
	for _, name := range names {
		found, err := s.saved(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if err := a.add(f, want); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// archived chooses what of an index goes into an archive.
func (s *Store) archived(want []ocispecs.Platform) platforms.MatchComparer {
	if len(want) == 0 {
		return s.Matcher(nil)
	}
	return platforms.Ordered(want...)
}

// savedImage is an image with the name it gets in an archive; none for one that
// was asked for by its id.
type savedImage struct {
	image images.Image
	name  string
}

// saved finds the images that a client means.
func (s *Store) saved(ctx context.Context, name string) ([]savedImage, error) {
	im, err := s.Resolve(ctx, name)
	if err == nil && (IsID(im.Target.Digest, name) || Dangling(im.Name) || byRepository(name)) {
		return []savedImage{{image: im}}, nil
	}
	ref, perr := reference.ParseNormalizedNamed(name)
	if perr == nil && reference.IsNameOnly(ref) {
		all, lerr := s.Repository(ctx, ref)
		if lerr != nil {
			return nil, lerr
		}
		var out []savedImage
		for _, im := range all {
			out = append(out, savedImage{im, im.Name})
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return []savedImage{{im, im.Name}}, nil
}

// add puts one image into the archive.
func (a *Archive) add(f savedImage, want []ocispecs.Platform) error {
	target := f.image.Target
	if err := a.store.lease(a.ctx, target); err != nil {
		return err
	}
	if len(want) == 0 {
		if _, err := a.store.Best(a.ctx, f.image, nil); err != nil {
			return err
		}
	}
	for _, p := range want {
		only, err := a.store.transferable(a.ctx, f.image, &p)
		if err != nil {
			return fmt.Errorf("no suitable export target found: %w", err)
		}
		if len(want) == 1 {
			target = only
		}
	}
	kept := map[string]string{}
	for k, v := range target.Annotations {
		if k != images.AnnotationImageName && k != ocispecs.AnnotationRefName {
			kept[k] = v
		}
	}
	target.Annotations = kept
	if f.name == "" {
		a.opts = append(a.opts, archive.WithManifest(target))
	} else {
		a.opts = append(a.opts, archive.WithManifest(target, f.name))
	}
	a.ids = append(a.ids, f.image.Target.Digest.String())
	return nil
}

// WriteTo writes the archive: an OCI layout that is a Docker archive, too.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	c := &countingWriter{w: w}
	if err := archive.Export(a.ctx, a.store.cfg.Content, c, a.opts...); err != nil {
		return c.n, fmt.Errorf("write archive: %w", err)
	}
	for _, id := range a.ids {
		a.store.announce(a.ctx, "save", id, id)
	}
	return c.n, nil
}

// Close gives the images free.
func (a *Archive) Close() error {
	a.done(false)
	return nil
}

// countingWriter counts what was written.
type countingWriter struct {
	w io.Writer
	n int64
}

// Write writes and counts.
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
