package image

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
)

// DanglingPrefix begins the names of images that have no other, in the stores of
// Docker engines: prefix, "@" and the digest.
const DanglingPrefix = "moby-dangling"

// Engine exports images as a Docker engine keeps them: always unpacked, under
// full names with a tag, and without losing any: an image that has no name, or
// whose last one moves on, gets a dangling one.
type Engine struct{ images *Exporter }

var _ export.Exporter = (*Engine)(nil)

// NewEngine returns an Exporter for the type "moby".
func NewEngine(cfg Config) *Engine { return &Engine{New(cfg)} }

// Resolve implements export.Exporter. Attributes are those of images.
func (e *Engine) Resolve(ctx context.Context, attrs map[string]string) (export.Instance, error) {
	attrs = maps.Clone(attrs)
	if attrs == nil {
		attrs = map[string]string{}
	}
	if attrs["push-by-digest"] != "" && attrs["push-by-digest"] != "false" {
		return nil, fmt.Errorf("exporter option \"push-by-digest\" is not supported by the exporter moby: %w", errdefs.ErrInvalidArgument)
	}
	names, err := engineNames(attrs["name"])
	if err != nil {
		return nil, err
	}
	attrs["name"] = strings.Join(names, ",")
	for k, v := range map[string]string{"unpack": "true", "dangling-name-prefix": DanglingPrefix, "danging-name-empty-only": "true"} {
		if _, given := attrs[k]; !given {
			attrs[k] = v
		}
	}
	// Clients read this one themselves.
	delete(attrs, "prefer-image-digest")
	in, err := e.images.Resolve(ctx, attrs)
	if err != nil {
		return nil, err
	}
	return &engineInstance{Instance: in, cfg: &e.images.cfg, names: names}, nil
}

// engineNames reads a list of names and completes them.
func engineNames(list string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		// The result itself says the names; they are complete.
		if text == "*" {
			return []string{text}, nil
		}
		name, err := reference.ParseNormalizedNamed(text)
		if err != nil {
			return nil, fmt.Errorf("invalid name %q of the image: %w: %w", text, err, errdefs.ErrInvalidArgument)
		}
		if _, ok := name.(reference.Digested); ok {
			return nil, fmt.Errorf("name %q of the image: build cannot tag with a digest: %w", text, errdefs.ErrInvalidArgument)
		}
		if full := reference.TagNameOnly(name).String(); !seen[full] {
			seen[full] = true
			out = append(out, full)
		}
	}
	return out, nil
}

// engineInstance keeps what its names stood for.
type engineInstance struct {
	export.Instance
	cfg   *Config
	names []string
}

// Export implements export.Instance. Images that lose their last name get a
// dangling one before that, so that no collection takes them in between.
func (in *engineInstance) Export(ctx context.Context, src *export.Source, t export.Target) (*export.Response, error) {
	old, err := in.keepOld(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := in.Instance.Export(ctx, src, t)
	if err == nil && len(in.names) > 0 && resp.Descriptor != nil {
		// It may have been built before without a name.
		old = append(old, images.Image{Name: danglingName(*resp.Descriptor), Target: *resp.Descriptor})
	}
	return resp, in.dropNamed(context.WithoutCancel(ctx), old, err)
}

// keepOld gives dangling names to what the names stand for now, and returns the
// entries that it made.
func (in *engineInstance) keepOld(ctx context.Context) ([]images.Image, error) {
	if in.cfg.Images == nil {
		return nil, nil
	}
	ctx = namespaces.WithNamespace(ctx, in.cfg.Namespace)
	var out []images.Image
	for _, name := range in.names {
		im, err := in.cfg.Images.Get(ctx, name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up image %s: %w", name, err)
		}
		dangling := images.Image{Name: danglingName(im.Target), Target: im.Target, Labels: map[string]string{LabelBuilt: "true"}}
		if _, err := in.cfg.Images.Create(ctx, dangling); err == nil {
			out = append(out, dangling)
		} else if !errdefs.IsAlreadyExists(err) {
			return nil, fmt.Errorf("keep image that was %s: %w", name, err)
		}
	}
	return out, nil
}

func danglingName(target ocispecs.Descriptor) string {
	return DanglingPrefix + "@" + target.Digest.String()
}

// dropNamed removes the dangling names of images that have another; err is
// returned, or what fails here.
func (in *engineInstance) dropNamed(ctx context.Context, made []images.Image, err error) error {
	if in.cfg.Images == nil {
		return err
	}
	ctx = namespaces.WithNamespace(ctx, in.cfg.Namespace)
	for _, im := range made {
		list, lerr := in.cfg.Images.List(ctx, "target.digest=="+im.Target.Digest.String())
		if lerr == nil && len(list) > 1 {
			lerr = in.cfg.Images.Delete(ctx, im.Name)
		}
		if errdefs.IsNotFound(lerr) {
			continue
		}
		if err == nil && lerr != nil {
			err = fmt.Errorf("name of image before: %w", lerr)
		}
	}
	return err
}
