package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/attest"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Assembler makes images out of results.
type Assembler struct {
	// Content receives the blobs.
	Content content.Store
	// Creator, optional, is added to those who made the bill of materials of a
	// result, in the words of SPDX ("Tool: name-version").
	Creator string
}

// part is one platform of an image in the making.
type part struct {
	export.Result
	layers []ref.Layer
	epoch  *time.Time
}

// Assemble writes the image of src. ctx has the namespace and a lease, which
// own the blobs until something else does; o comes from Finish. Progress goes
// to env.
func (a *Assembler) Assemble(ctx context.Context, src *export.Source, o Options, env solver.Env) (*Image, error) {
	parts, err := plan(src, o)
	if err != nil {
		return nil, err
	}
	if err := a.layers(ctx, src, parts, o, env); err != nil {
		return nil, err
	}
	im := &Image{Index: indexed(src, parts)}
	for _, p := range parts {
		m, err := a.manifest(ctx, src, p, o, env)
		if err != nil {
			return nil, err
		}
		if err := a.attest(ctx, p, &m, o, env); err != nil {
			return nil, err
		}
		im.Manifests = append(im.Manifests, m)
	}
	if !im.Index {
		im.Descriptor = im.Manifests[0].Descriptor
		return im, nil
	}
	im.Descriptor, err = a.index(ctx, im.Children(), o, env)
	return im, err
}

// indexed tells whether the image needs an index: for its platforms, or
// because attestations have no other place.
func indexed(src *export.Source, parts []*part) bool {
	return src.Multi() || slices.ContainsFunc(parts, func(p *part) bool { return len(p.Attestations) > 0 })
}

// plan checks what can be checked before anything is written.
func plan(src *export.Source, o Options) ([]*part, error) {
	results, err := src.Results()
	if err != nil {
		return nil, err
	}
	var parts []*part
	var list []ocispecs.Platform
	for _, r := range results {
		r.Attestations = attest.Select(r.Attestations, o.Inline)
		if len(r.Attestations) > 0 && !o.OCI {
			return nil, conflict("cannot export attestations with \"oci-mediatypes=false\"")
		}
		epoch, err := o.Epoch.For(src, r.ID)
		if err != nil {
			return nil, err
		}
		parts = append(parts, &part{Result: r, epoch: epoch})
		list = append(list, r.Platform.Platform)
	}
	return parts, o.Annotations.check(list, indexed(src, parts), o.OCI)
}

// layers makes the layer blobs of all parts, side by side.
func (a *Assembler) layers(ctx context.Context, src *export.Source, parts []*part, o Options, env solver.Env) error {
	defer progress.Status(env, "exporting layers", "").Done()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		opt := o.Layers
		if o.Rewrite && p.epoch != nil {
			opt.Epoch = p.epoch
			var err error
			if opt.Keep, err = baseLayers(src.Meta(export.MetaBaseConfig, p.ID)); err != nil {
				return err
			}
			id := fmt.Sprintf("rewriting layers with source-date-epoch %d (%s)", p.epoch.Unix(), p.epoch)
			defer progress.Status(env, id, "").Done()
		}
		group.Go(func() (err error) {
			p.layers, err = p.Ref.Layers(ctx, opt, env)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("export layers: %w", err)
	}
	return nil
}

// manifest writes configuration and manifest of one platform.
func (a *Assembler) manifest(ctx context.Context, src *export.Source, p *part, o Options, env solver.Env) (Manifest, error) {
	out := Manifest{Ref: p.Ref}
	cache, err := inlineCache(ctx, src, p, env)
	if err != nil {
		return out, err
	}
	config, err := imageConfig(configInput{
		config:   src.Meta(export.MetaImageConfig, p.ID),
		base:     src.Meta(export.MetaBaseConfig, p.ID),
		platform: p.Platform.Platform,
		layers:   p.layers,
		epoch:    p.epoch,
		cache:    cache,
	})
	if err != nil {
		return out, err
	}
	family := familyOf(o.OCI)
	done := status(env, "exporting config ")
	out.Config, err = a.write(ctx, family.config, config, nil)
	done(out.Config.Digest)
	if err != nil {
		return out, err
	}
	annotations := o.Annotations.of(p.Platform.Platform)
	m := ocispecs.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   family.manifest,
		Config:      out.Config,
		Layers:      []ocispecs.Descriptor{},
		Annotations: annotations.manifest,
	}
	for _, l := range p.layers {
		desc, err := layerDescriptor(l.Descriptor, o.OCI, o.Foreign)
		if err != nil {
			return out, err
		}
		m.Layers = append(m.Layers, desc)
		out.DiffIDs = append(out.DiffIDs, l.DiffID)
	}
	out.Layers = m.Layers
	done = status(env, "exporting manifest ")
	out.Descriptor, err = a.writeJSON(ctx, family.manifest, m, append([]ocispecs.Descriptor{m.Config}, m.Layers...))
	done(out.Descriptor.Digest)
	if err != nil {
		return out, err
	}
	platform := p.Platform.Platform
	out.Descriptor.Platform = &platform
	if len(annotations.descriptor) > 0 {
		out.Descriptor.Annotations = annotations.descriptor
	}
	return out, nil
}

// inlineCache asks for the build cache of one platform.
func inlineCache(ctx context.Context, src *export.Source, p *part, env solver.Env) ([]byte, error) {
	if src.InlineCache == nil {
		return nil, nil
	}
	defer progress.Status(env, "preparing layers for inline cache", "").Done()
	data, err := src.InlineCache(ctx, p.ID, p.layers)
	if err != nil {
		return nil, fmt.Errorf("prepare inline cache: %w", err)
	}
	return data, nil
}

// index writes the list of manifests.
func (a *Assembler) index(ctx context.Context, manifests []ocispecs.Descriptor, o Options, env solver.Env) (ocispecs.Descriptor, error) {
	family := familyOf(o.OCI)
	idx := ocispecs.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   family.index,
		Manifests:   manifests,
		Annotations: o.Annotations.index,
	}
	done := status(env, "exporting manifest list ")
	desc, err := a.writeJSON(ctx, family.index, idx, idx.Manifests)
	done(desc.Digest)
	if len(o.Annotations.indexDescriptor) > 0 {
		desc.Annotations = o.Annotations.indexDescriptor
	}
	return desc, err
}

// family is the set of media types of an image's own blobs.
type family struct{ config, manifest, index string }

func familyOf(oci bool) family {
	if oci {
		return family{ocispecs.MediaTypeImageConfig, ocispecs.MediaTypeImageManifest, ocispecs.MediaTypeImageIndex}
	}
	return family{images.MediaTypeDockerSchema2Config, images.MediaTypeDockerSchema2Manifest, images.MediaTypeDockerSchema2ManifestList}
}

// writeJSON writes a parent of other blobs. The form of the JSON, indented by
// two spaces, is the one that digests of equal images elsewhere come from.
func (a *Assembler) writeJSON(ctx context.Context, mediaType string, v any, children []ocispecs.Descriptor) (ocispecs.Descriptor, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	return a.write(ctx, mediaType, data, children)
}
