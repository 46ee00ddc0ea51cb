package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ/compress"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// maxLoaded bounds the images of one archive.
const maxLoaded = 1000

// Load brings the images of an archive (as written by docker save, or an OCI
// layout; compressed or not) and unpacks those for the platforms, without any
// for that of the machine. Each image must have all platforms. An archive that is none, or not whole, is errdefs
// InvalidArgument and leaves nothing behind.
func (s *Store) Load(ctx context.Context, r io.Reader, want []ocispecs.Platform, out Output) (err error) {
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	store := &ingester{Store: s.cfg.Content}
	defer func() {
		// What is left unfinished nobody continues.
		if ferr := store.forget(context.WithoutCancel(ctx)); err == nil {
			err = ferr
		}
		release(err != nil)
	}()
	root, err := s.ingest(ctx, store, r)
	if err != nil {
		return err
	}
	list, err := s.loaded(ctx, root, want)
	if err != nil {
		return err
	}
	for _, l := range list {
		if err := s.put(ctx, l.name, l.target, nil); err != nil {
			return err
		}
	}
	if err := s.sync(ctx); err != nil {
		return err
	}
	for _, l := range list {
		s.finishLoad(ctx, l, want, out)
	}
	return nil
}

// ingest reads the archive into the content store and returns its index.
func (s *Store) ingest(ctx context.Context, store *ingester, r io.Reader) (ocispecs.Descriptor, error) {
	in := &inCounter{r: r}
	decoded, err := compress.NewReader(in, compress.Limits{})
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("read archive: %w", err)
	}
	defer decoded.Close()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		var g guard
		err := g.copy(pw, &ratio{in: &in.n, from: s.cfg.Plain, decoded: decoded})
		pw.CloseWithError(err)
		done <- err
	}()
	root, err := archive.ImportIndex(ctx, store, pr)
	if err == nil {
		// Padding after the end of the archive.
		_, err = io.Copy(io.Discard, pr)
	}
	pr.CloseWithError(errAbandoned)
	// Why the archive ended early says more than that it did.
	if gerr := <-done; gerr != nil && !errors.Is(gerr, errAbandoned) {
		err = gerr
	}
	if err == nil {
		return root, nil
	}
	if ctx.Err() != nil {
		return root, context.Cause(ctx)
	}
	if !errdefs.IsInvalidArgument(err) && !errdefs.IsResourceExhausted(err) {
		err = fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return root, fmt.Errorf("load archive: %w", err)
}

// errAbandoned ends the reading of an archive that nobody wants any more.
var errAbandoned = errors.New("not read any further")

// loadedImage is an image of an archive under one of its names.
type loadedImage struct {
	name   string
	target ocispecs.Descriptor
}

// loaded reads the index of an archive and ties together what it names. At
// least one variant of each image must be there whole.
func (s *Store) loaded(ctx context.Context, root ocispecs.Descriptor, want []ocispecs.Platform) ([]loadedImage, error) {
	data, err := s.document(ctx, root, maxManifest)
	if err != nil {
		return nil, err
	}
	var index ocispecs.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, invalid("index of the archive: %w", err)
	}
	if n := len(index.Manifests); n > maxLoaded {
		return nil, invalid("archive has %d images, at most %d are loaded at a time", n, maxLoaded)
	}
	var out []loadedImage
	for _, d := range index.Manifests {
		if err := d.Digest.Validate(); err != nil {
			return nil, invalid("index of the archive: digest %q: %w", d.Digest, err)
		}
		if d.Annotations[annotationType] != "" {
			// An attestation beside its image, as old exporters write them.
			continue
		}
		if !isDocument(d) {
			return nil, invalid("index of the archive: %s is of type %q, which is no image", d.Digest, d.MediaType)
		}
		name, err := loadedName(d)
		if err != nil {
			return nil, err
		}
		if err := s.whole(ctx, d, want); err != nil {
			return nil, err
		}
		target := ocispecs.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
		out = append(out, loadedImage{name, target})
	}
	if len(out) == 0 {
		return nil, invalid("archive has no images")
	}
	return out, nil
}

// loadedName is what an image of an archive is to be called.
func loadedName(d ocispecs.Descriptor) (string, error) {
	name := d.Annotations[images.AnnotationImageName]
	if name == "" {
		name = d.Annotations[ocispecs.AnnotationRefName]
	}
	if name == "" || Dangling(name) {
		return DanglingName(d.Digest), nil
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return DanglingName(d.Digest), nil
	}
	if reference.FamiliarName(ref) == "sha256" {
		return "", invalid("archive names an image %q, which looks like an id", name)
	}
	return reference.TagNameOnly(ref).String(), nil
}

// whole ties documents to what they name and checks that the image can be used.
func (s *Store) whole(ctx context.Context, root ocispecs.Descriptor, want []ocispecs.Platform) error {
	err := s.walk(ctx, root, func(d ocispecs.Descriptor) error {
		if info, err := s.cfg.Content.Info(ctx, d.Digest); err != nil || info.Size != d.Size {
			return invalid("blob %s has another size than the %d bytes that the archive says", d.Digest, d.Size)
		}
		if !isDocument(d) {
			return nil
		}
		data, err := s.document(ctx, d, maxManifest)
		if err != nil {
			return err
		}
		below, err := children(d, data)
		if err != nil {
			return err
		}
		return s.tie(ctx, d, below)
	}, nil)
	if err != nil {
		return err
	}
	all, err := s.Variants(ctx, root)
	if err != nil {
		return err
	}
	for i := range want {
		switch best, p := s.Pick(all, &want[i]), platforms.FormatAll(want[i]); {
		case best == nil:
			return kind(errdefs.ErrNotFound, "requested platform (%s) not found", p)
		case !best.Available:
			return kind(errdefs.ErrNotFound, "requested platform (%s) found, but some content is missing", p)
		}
	}
	switch best := s.Pick(all, nil); {
	case best == nil:
		return invalid("archive does not have the content of image %s", root.Digest)
	case !best.Available:
		return invalid("archive does not have all layers of image %s", root.Digest)
	}
	return nil
}

// finishLoad unpacks what of an image was wanted, or what the machine can run,
// and tells of it. An image that cannot be unpacked was loaded all the same.
func (s *Store) finishLoad(ctx context.Context, l loadedImage, want []ocispecs.Platform, out Output) {
	name, text := l.target.Digest.String(), "Loaded image ID: "
	if !Dangling(l.name) {
		name, text = Familiar(images.Image{Name: l.name}), "Loaded image: "
	}
	err := s.unpackFor(ctx, l.target, want)
	out(route.Message{Stream: text + name + "\n"})
	s.announce(ctx, "load", l.target.Digest.String(), l.target.Digest.String())
	if err != nil {
		out(route.Message{Stream: fmt.Sprintf("Error unpacking image %s: %v\n", name, err)})
	}
}

// unpackFor unpacks the variants for platforms; without any the machine's, if
// there is one.
func (s *Store) unpackFor(ctx context.Context, target ocispecs.Descriptor, want []ocispecs.Platform) error {
	all, err := s.Variants(ctx, target)
	if err != nil {
		return err
	}
	if len(want) == 0 {
		best := s.Pick(all, nil)
		if best == nil || !best.Available || !platforms.Only(s.cfg.Platform).Match(best.Platform) {
			return nil
		}
		return s.unpack(ctx, best)
	}
	for i := range want {
		if err := s.unpack(ctx, s.Pick(all, &want[i])); err != nil {
			return err
		}
	}
	return nil
}
