package image

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/manifest"
)

// instance is one image export.
type instance struct {
	exporter *Exporter
	opts     manifest.Options
	settings
	// metadata replaces that of the result.
	metadata map[string]string
	// uploads are those under way, early ones among them.
	uploads uploads
}

// Name implements export.Instance.
func (in *instance) Name() string { return "exporting to image" }

// Export implements export.Instance.
func (in *instance) Export(ctx context.Context, src *export.Source, t export.Target) (_ *export.Response, err error) {
	src = src.With(in.metadata)
	opts, err := in.opts.Finish(src)
	if err != nil {
		return nil, err
	}
	cfg := &in.exporter.cfg
	ctx, release, err := manifest.Hold(ctx, cfg.Leases, cfg.Namespace)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	asm := manifest.Assembler{Content: cfg.Content, Creator: cfg.Creator}
	im, err := asm.Assemble(ctx, src, opts, t.Env)
	if err != nil {
		return nil, err
	}
	names := in.names(opts.Names, im.Descriptor.Digest)
	if err := in.keep(ctx, src, im, opts, names, t.Env); err != nil {
		return nil, err
	}
	values, err := im.Values()
	if err != nil {
		return nil, err
	}
	if all := names.all(); len(all) > 0 {
		values[export.ValueName] = strings.Join(all, ",")
	}
	resp := &export.Response{Values: values, Descriptor: &im.Descriptor, Release: func(context.Context) { release() }}
	if !in.push || len(names.given) == 0 {
		return resp, nil
	}
	resp.Finalize = func(ctx context.Context) error {
		p := &pusher{cfg: cfg, settings: in.settings, image: im, env: t.Env, uploads: &in.uploads}
		for _, name := range names.given {
			if err := p.push(ctx, name); err != nil {
				return fmt.Errorf("failed to push %s: %w", name, err)
			}
		}
		return nil
	}
	return resp, nil
}

// keep names and unpacks the image and makes that durable.
func (in *instance) keep(ctx context.Context, src *export.Source, im *manifest.Image, opts manifest.Options, names names, env solver.Env) error {
	cfg := &in.exporter.cfg
	n := &namer{images: cfg.Images, target: im.Descriptor, canonical: in.canonical}
	u := &unpacker{cfg: cfg, image: im, env: env}
	if in.store && cfg.Images != nil {
		var err error
		if n.epoch, err = opts.Epoch.For(src, ""); err != nil {
			return err
		}
		for _, name := range names.all() {
			if err := n.name(ctx, name, name != names.dangling, env); err != nil {
				return err
			}
		}
		if in.unpack {
			for _, name := range names.all() {
				if err := u.unpack(ctx, name); err != nil {
					return fmt.Errorf("unpack %s: %w", name, err)
				}
			}
		}
	}
	if cfg.Durable == nil {
		return nil
	}
	now, err := cfg.look(ctx, im, n.entries, u.snapshot)
	if err != nil {
		return err
	}
	done := &in.exporter.settled
	if !n.changed && done.has(im.Descriptor.Digest, now) {
		return nil
	}
	if err := cfg.Durable(ctx); err != nil {
		return err
	}
	done.add(im.Descriptor.Digest, now)
	return nil
}

// names are those an image gets.
type names struct {
	given    []string
	dangling string
}

// names splits the attribute and adds the dangling name if there is to be one.
func (in *instance) names(list string, root digest.Digest) names {
	var n names
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			n.given = append(n.given, name)
		}
	}
	if in.danglingPrefix != "" && (!in.danglingEmptyOnly || len(n.given) == 0) {
		n.dangling = in.danglingPrefix + "@" + root.String()
	}
	return n
}

// all returns the names in the order in which they are given to the image.
func (n names) all() []string {
	if n.dangling == "" {
		return n.given
	}
	return append(n.given[:len(n.given):len(n.given)], n.dangling)
}
