package imagestore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/progress"
)

// AttrSquash is the attribute of an image export that asks for one layer on top
// of the base image.
const AttrSquash = "squash"

// Squasher is an exporter of images that can make one layer of all that a build
// did, and that announces each image that it made. Use NewSquasher.
type Squasher struct {
	store  *Store
	images export.Exporter
}

var _ export.Exporter = (*Squasher)(nil)

// NewSquasher returns an exporter that does what images does, unless AttrSquash
// is set: then it names another image, made of that one. The store needs a
// Comparer.
func NewSquasher(store *Store, images export.Exporter) *Squasher { return &Squasher{store, images} }

// Resolve implements export.Exporter.
func (q *Squasher) Resolve(ctx context.Context, attrs map[string]string) (export.Instance, error) {
	on, err := boolAttr(attrs, AttrSquash)
	if err != nil {
		return nil, err
	}
	attrs = maps.Clone(attrs)
	delete(attrs, AttrSquash)
	if !on {
		in, err := q.images.Resolve(ctx, attrs)
		if err != nil {
			return nil, err
		}
		return &announced{in, q.store}, nil
	}
	if push, err := boolAttr(attrs, "push"); err != nil || push {
		return nil, invalid("an image that is squashed cannot be pushed by the build: name it, and push the name")
	}
	out := &squashing{store: q.store}
	for text := range strings.SplitSeq(attrs["name"], ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(text)
		if err != nil {
			return nil, invalid("invalid name %q of the image: %w", text, err)
		}
		out.names = append(out.names, reference.TagNameOnly(ref))
	}
	// What is exported first has no name: nobody is to find it, not even after
	// a crash.
	delete(attrs, "name")
	attrs["store"] = "false"
	if out.Instance, err = q.images.Resolve(ctx, attrs); err != nil {
		return nil, err
	}
	return &announced{out, q.store}, nil
}

// announced tells listeners of the image that an export made.
type announced struct {
	export.Instance
	store *Store
}

// Export implements export.Instance.
func (in *announced) Export(ctx context.Context, src *export.Source, t export.Target) (*export.Response, error) {
	resp, err := in.Instance.Export(ctx, src, t)
	if err == nil && resp.Descriptor != nil {
		id := resp.Descriptor.Digest.String()
		in.store.announce(ctx, "create", id, id)
	}
	return resp, err
}

// squashing exports one image.
type squashing struct {
	export.Instance
	store *Store
	names []reference.Named
}

// Export implements export.Instance.
func (in *squashing) Export(ctx context.Context, src *export.Source, t export.Target) (_ *export.Response, err error) {
	if src.Multi() {
		return nil, invalid("cannot squash an image of several platforms: build one platform at a time")
	}
	results, err := src.Results()
	if err != nil {
		return nil, err
	}
	keep, err := baseLayers(src.Meta(export.MetaBaseConfig, results[0].ID))
	if err != nil {
		return nil, err
	}
	resp, err := in.Instance.Export(ctx, src, t)
	if err != nil {
		return nil, err
	}
	if resp.Descriptor == nil {
		return resp, nil
	}
	held, release, err := in.store.hold(ctx)
	if err != nil {
		return nil, err
	}
	desc, err := in.squash(held, *resp.Descriptor, keep, t)
	first, failed := resp.Release, err != nil
	resp.Release = func(ctx context.Context) {
		release(failed)
		if first != nil {
			first(ctx)
		}
	}
	if err != nil {
		resp.Release(ctx)
		return nil, err
	}
	resp.Descriptor = &desc
	return resp, in.describe(ctx, resp)
}

// squash makes and names the image.
func (in *squashing) squash(ctx context.Context, whole ocispecs.Descriptor, keep int, t export.Target) (ocispecs.Descriptor, error) {
	defer progress.Status(t.Env, "squashing layers", "").Done()
	desc, err := in.store.squash(ctx, whole, keep)
	if err != nil {
		return desc, err
	}
	if len(in.names) == 0 {
		return desc, in.store.put(ctx, DanglingName(desc.Digest), desc, nil)
	}
	for _, name := range in.names {
		if err := in.store.put(ctx, name.String(), desc, nil); err != nil {
			return desc, err
		}
		in.store.announce(ctx, "tag", desc.Digest.String(), reference.FamiliarString(name))
	}
	return desc, in.store.sync(ctx)
}

// describe tells clients of the image that there is now.
func (in *squashing) describe(ctx context.Context, resp *export.Response) error {
	v, err := in.store.Best(ctx, images.Image{Target: *resp.Descriptor}, nil)
	if err != nil {
		return err
	}
	data, err := json.Marshal(resp.Descriptor)
	if err != nil {
		return fmt.Errorf("render descriptor: %w", err)
	}
	resp.Values = maps.Clone(resp.Values)
	resp.Values[export.ValueDigest] = resp.Descriptor.Digest.String()
	resp.Values[export.ValueConfigDigest] = v.Manifest.Config.Digest.String()
	resp.Values[export.ValueDescriptor] = base64.StdEncoding.EncodeToString(data)
	var names []string
	for _, name := range in.names {
		names = append(names, name.String())
	}
	resp.Values[export.ValueName] = strings.Join(names, ",")
	return nil
}
