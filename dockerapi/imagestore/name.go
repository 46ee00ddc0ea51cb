package imagestore

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// danglingPrefix begins the names of images without one.
const danglingPrefix = "moby-dangling@"

// shortID matches what may be the beginning of an id.
var shortID = regexp.MustCompile(`^(?:sha256:)?([a-f0-9]{4,64})$`)

// Dangling tells whether a name only stands for an id.
func Dangling(name string) bool { return strings.HasPrefix(name, danglingPrefix) }

// DanglingName is the name of an image without one.
func DanglingName(id digest.Digest) string { return danglingPrefix + id.String() }

// missing is the error of an image that is not there, in the engine's words.
func missing(ref reference.Reference) error {
	if named, ok := ref.(reference.Named); ok {
		ref = reference.TagNameOnly(named)
	}
	return kind(errdefs.ErrNotFound, "No such image: %s", reference.FamiliarString(ref))
}

// kindError is an error whose text clients know, so that its kind must not
// show in it.
type kindError struct {
	text string
	kind error
}

// Error returns the text.
func (e *kindError) Error() string { return e.text }

// Unwrap returns the kind.
func (e *kindError) Unwrap() error { return e.kind }

func kind(of error, format string, args ...any) error {
	return &kindError{text: fmt.Sprintf(format, args...), kind: of}
}

// parse reads what a client calls an image.
func parse(name string) (reference.Reference, error) {
	if strings.TrimSpace(name) == "" {
		return nil, kind(errdefs.ErrInvalidArgument, "image name cannot be blank")
	}
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return nil, kind(errdefs.ErrInvalidArgument, "%s", err)
	}
	return ref, nil
}

// Resolve finds an image by name, digest, or the beginning of its id. Errors
// are errdefs NotFound, InvalidArgument, and Conflict for an id that several
// images begin with.
func (s *Store) Resolve(ctx context.Context, name string) (images.Image, error) {
	ctx = s.ctx(ctx)
	ref, err := parse(name)
	if err != nil {
		return images.Image{}, err
	}
	if d, ok := ref.(reference.Digested); ok {
		return s.byDigest(ctx, ref, d.Digest())
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return images.Image{}, missing(ref)
	}
	im, err := s.cfg.Images.Get(ctx, reference.TagNameOnly(named).String())
	if err == nil || !errdefs.IsNotFound(err) {
		return im, err
	}
	if m := shortID.FindStringSubmatch(name); m != nil {
		return s.byPrefix(ctx, ref, m[1])
	}
	return images.Image{}, missing(ref)
}

// byDigest finds an image by its whole id. With a name before the digest only
// images of that repository count.
func (s *Store) byDigest(ctx context.Context, ref reference.Reference, d digest.Digest) (images.Image, error) {
	all, err := s.Names(ctx, d)
	if err != nil {
		return images.Image{}, err
	}
	named, isNamed := ref.(reference.Named)
	for _, im := range all {
		if !isNamed {
			return im, nil
		}
		if own, err := reference.ParseNormalizedNamed(im.Name); err == nil && own.Name() == named.Name() {
			return im, nil
		}
	}
	return images.Image{}, missing(ref)
}

// byPrefix finds an image by the beginning of its id.
func (s *Store) byPrefix(ctx context.Context, ref reference.Reference, prefix string) (images.Image, error) {
	found, err := s.cfg.Images.List(ctx, "target.digest~="+strconv.Quote("^sha256:"+prefix))
	if err != nil {
		return images.Image{}, fmt.Errorf("look up id %s: %w", prefix, err)
	}
	if len(found) == 0 {
		return images.Image{}, missing(ref)
	}
	for _, im := range found[1:] {
		if im.Target.Digest != found[0].Target.Digest {
			return images.Image{}, kind(errdefs.ErrConflict, "ambiguous reference: several images have ids that begin with %s", prefix)
		}
	}
	return named(found)[0], nil
}

// Names returns all entries whose target has a digest, real names first.
func (s *Store) Names(ctx context.Context, id digest.Digest) ([]images.Image, error) {
	all, err := s.cfg.Images.List(s.ctx(ctx), "target.digest=="+id.String())
	if err != nil {
		return nil, fmt.Errorf("look up digest %s: %w", id, err)
	}
	return named(all), nil
}

// named sorts entries by name, dangling ones last.
func named(all []images.Image) []images.Image {
	slices.SortFunc(all, func(a, b images.Image) int {
		if da, db := Dangling(a.Name), Dangling(b.Name); da != db {
			if da {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// Repository returns the entries of a repository that have a tag.
func (s *Store) Repository(ctx context.Context, ref reference.Named) ([]images.Image, error) {
	all, err := s.cfg.Images.List(s.ctx(ctx), "name~="+strconv.Quote("^"+regexp.QuoteMeta(ref.Name())+":[^@]+$"))
	if err != nil {
		return nil, fmt.Errorf("list images of %s: %w", reference.FamiliarName(ref), err)
	}
	return named(all), nil
}

// Familiar is how people call an image: its name, or its id if it has none.
func Familiar(im images.Image) string {
	if Dangling(im.Name) {
		return im.Target.Digest.String()
	}
	if ref, err := reference.ParseNormalizedNamed(im.Name); err == nil {
		return reference.FamiliarString(ref)
	}
	return im.Name
}

// Tags splits the names of an image into tags and digests, familiar and each
// once. Names that are no references, as other clients of containerd give
// them, count as tags; those that are ids count as nothing.
func Tags(all []images.Image) (tags, digests []string) {
	tags, digests = []string{}, []string{}
	add := func(to *[]string, v string) {
		if !slices.Contains(*to, v) {
			*to = append(*to, v)
		}
	}
	for _, im := range all {
		if Dangling(im.Name) || digest.Digest(im.Name).Validate() == nil {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(im.Name)
		if err != nil {
			add(&tags, im.Name)
			continue
		}
		if _, ok := ref.(reference.Digested); !ok {
			add(&tags, reference.FamiliarString(reference.TagNameOnly(ref)))
		}
		if with, err := reference.WithDigest(reference.TrimNamed(ref), im.Target.Digest); err == nil {
			add(&digests, reference.FamiliarString(with))
		}
	}
	return tags, digests
}

// IsID tells whether what a client wrote is an id, or the beginning of one, of
// an image rather than a name.
func IsID(id digest.Digest, written string) bool {
	return strings.HasPrefix(id.String(), written) || strings.HasPrefix(id.Encoded(), written)
}
