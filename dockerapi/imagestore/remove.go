package imagestore

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Removed is one thing that a removal did; one field is set.
type Removed struct {
	// Untagged is the familiar name that went, Deleted the id of an image.
	Untagged string `json:",omitempty"`
	Deleted  string `json:",omitempty"`
}

// RemoveOptions say how an image is removed.
type RemoveOptions struct {
	// Force removes an image by its id although it has several names.
	Force bool
	// Platforms removes only these variants; it takes Force.
	Platforms []ocispecs.Platform
}

// Remove removes a name, and the image with its last name; by id, the image
// with all its names. An image that is not there is errdefs NotFound, one that
// Force is needed for Conflict.
func (s *Store) Remove(ctx context.Context, name string, opt RemoveOptions) ([]Removed, error) {
	ctx = s.ctx(ctx)
	if len(opt.Platforms) > 0 && !opt.Force {
		return nil, kind(errdefs.ErrInvalidArgument, "Content will be removed from all images referencing this variant. Use --force to force delete.")
	}
	im, err := s.Resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(opt.Platforms) > 0 {
		return s.removePlatforms(ctx, im, opt.Platforms)
	}
	all, err := s.Names(ctx, im.Target.Digest)
	if err != nil {
		return nil, err
	}
	var gone []images.Image
	if IsID(im.Target.Digest, name) || Dangling(im.Name) {
		if len(sameTag(im, all)) < len(all) && !opt.Force {
			return nil, kind(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories",
				shorten(im.Target.Digest))
		}
		gone = all
	} else if gone = sameTag(im, all); byRepository(name) {
		gone = sameRepository(im, all)
	}
	return s.remove(ctx, gone, all)
}

// byRepository tells whether what a client wrote names a repository's image by
// its digest: all of its tags there are meant.
func byRepository(written string) bool {
	ref, err := reference.ParseNormalizedNamed(written)
	if err != nil {
		return false
	}
	_, ok := ref.(reference.Digested)
	return ok
}

// sameRepository are the names in the repository of one of them.
func sameRepository(im images.Image, all []images.Image) []images.Image {
	own, err := reference.ParseNormalizedNamed(im.Name)
	if err != nil {
		return []images.Image{im}
	}
	var out []images.Image
	for _, other := range all {
		if ref, err := reference.ParseNormalizedNamed(other.Name); err == nil && ref.Name() == own.Name() {
			out = append(out, other)
		}
	}
	return out
}

// sameTag are a name and what goes with it: names with a digest in the same
// repository, unless another tag there still leads to the image. Dangling names
// go with every name.
func sameTag(im images.Image, all []images.Image) []images.Image {
	out := []images.Image{im}
	for _, other := range all {
		if Dangling(other.Name) && other.Name != im.Name {
			out = append(out, other)
		}
	}
	var digests []images.Image
	for _, other := range sameRepository(im, all) {
		if other.Name == im.Name || Dangling(other.Name) {
			continue
		}
		if !byRepository(other.Name) {
			return out
		}
		digests = append(digests, other)
	}
	return append(out, digests...)
}

// shorten is an id as people see it.
func shorten(id digest.Digest) string {
	hex := id.Encoded()
	return hex[:min(12, len(hex))]
}

// remove removes names; the image goes with the last.
func (s *Store) remove(ctx context.Context, gone, all []images.Image) ([]Removed, error) {
	var out []Removed
	for _, im := range gone {
		s.announceUntag(ctx, im)
		target := im.Target
		err := s.cfg.Images.Delete(ctx, im.Name, images.DeleteTarget(&target))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("remove image %s: %w", Familiar(im), err)
		}
		if !Dangling(im.Name) {
			out = append(out, Removed{Untagged: Familiar(im)})
		}
	}
	if len(gone) == len(all) {
		id := all[0].Target.Digest.String()
		out = append(out, Removed{Deleted: id})
		s.announce(ctx, "delete", id, id)
		s.collect(ctx)
	}
	return out, s.sync(ctx)
}

// announceUntag tells of a name that goes; before it does, as its labels go
// with it.
func (s *Store) announceUntag(ctx context.Context, im images.Image) {
	if !Dangling(im.Name) {
		s.announce(ctx, "untag", im.Target.Digest.String(), Familiar(im))
	}
}

// removePlatforms removes variants. Only the manifest is deleted: what it alone
// kept is collected, and what a build cache keeps stays usable there.
func (s *Store) removePlatforms(ctx context.Context, im images.Image, wanted []ocispecs.Platform) ([]Removed, error) {
	var out []Removed
	for _, p := range wanted {
		v, err := s.Best(ctx, im, &p)
		if err != nil {
			return out, err
		}
		if v.Descriptor.Digest == im.Target.Digest {
			all, err := s.Names(ctx, im.Target.Digest)
			if err != nil {
				return out, err
			}
			return s.remove(ctx, all, all)
		}
		if err := s.cfg.Content.Delete(ctx, v.Descriptor.Digest); err != nil && !errdefs.IsNotFound(err) {
			return out, fmt.Errorf("remove manifest %s: %w", v.Descriptor.Digest, err)
		}
		out = append(out, Removed{Deleted: v.Descriptor.Digest.String()})
	}
	s.collect(ctx)
	return out, s.sync(ctx)
}
