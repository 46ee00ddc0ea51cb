package imagestore

import (
	"context"
	"fmt"
	"maps"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	export "github.com/kilnbuild/kiln/solver/export/image"
)

// Tag gives an image one more name. An image that had the name and no other
// dangles afterwards.
func (s *Store) Tag(ctx context.Context, im images.Image, ref reference.Named) error {
	if reference.FamiliarName(ref) == string(digest.Canonical) {
		return kind(errdefs.ErrInvalidArgument, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	ref = reference.TagNameOnly(ref)
	if err := s.put(ctx, ref.String(), im.Target, im.Labels); err != nil {
		return err
	}
	if err := s.sync(ctx); err != nil {
		return err
	}
	s.announce(ctx, "tag", im.Target.Digest.String(), reference.FamiliarString(ref))
	return nil
}

// put makes a name lead to a target, wherever it led before. Others may do the
// same at the same time.
func (s *Store) put(ctx context.Context, name string, target ocispecs.Descriptor, labels map[string]string) error {
	ctx = s.ctx(ctx)
	labels = maps.Clone(labels)
	// Who asked for a name wants to keep the image, unlike a build's by-product.
	delete(labels, export.LabelBuilt)
	target.Data, target.URLs = nil, nil
	im := images.Image{Name: name, Target: target, Labels: labels}
	for {
		_, err := s.cfg.Images.Create(ctx, im)
		if errdefs.IsAlreadyExists(err) {
			if err = s.KeepDangling(ctx, name, target.Digest); err == nil {
				_, err = s.cfg.Images.Update(ctx, im, "target")
			}
			if errdefs.IsNotFound(err) && ctx.Err() == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("name image %s: %w", name, err)
		}
		break
	}
	if Dangling(name) {
		return nil
	}
	if err := s.cfg.Images.Delete(ctx, DanglingName(target.Digest)); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove dangling name of %s: %w", target.Digest, err)
	}
	return nil
}

// KeepDangling is to be called before a name moves to the image next: an image
// that has no other name dangles from now on. A name that nobody has is no
// error.
func (s *Store) KeepDangling(ctx context.Context, name string, next digest.Digest) error {
	ctx = s.ctx(ctx)
	old, err := s.cfg.Images.Get(ctx, name)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("look up image %s: %w", name, err)
	}
	if old.Target.Digest == next || Dangling(name) {
		return nil
	}
	all, err := s.Names(ctx, old.Target.Digest)
	if err != nil {
		return err
	}
	if len(all) > 1 {
		return nil
	}
	kept := images.Image{Name: DanglingName(old.Target.Digest), Target: old.Target, Labels: old.Labels}
	if _, err := s.cfg.Images.Create(ctx, kept); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("keep image %s without a name: %w", old.Target.Digest, err)
	}
	return nil
}
