package lower

import (
	"context"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// maxLookups bounds how many bases are looked up at the same time.
const maxLookups = 32

// resolve finds out what the needed stages start from, over and over while
// triggers in base images ask for more.
func (c *conversion) resolve(ctx context.Context, target *stage) (map[*stage]bool, error) {
	for {
		needed := reachable(target)
		if err := c.resolveBases(ctx, needed); err != nil {
			return nil, err
		}
		more := false
		for _, s := range c.stages {
			if !needed[s] {
				continue
			}
			added, err := c.fireTriggers(s)
			if err != nil {
				return nil, syntax.Instead(err, s.source.Ranges)
			}
			more = more || added
		}
		if !more {
			return needed, nil
		}
	}
}

// resolveBases looks up all bases that are not known yet, concurrently. Stages
// that are not needed only have their base's name checked.
func (c *conversion) resolveBases(ctx context.Context, needed map[*stage]bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxLookups)
	var looked []*stage
	for _, s := range c.stages {
		if s.base != nil || s.lowered || s.resolved {
			continue
		}
		s.resolved = needed[s] || c.opt.AllStages
		if s.baseName == scratch && s.context == nil {
			s.image, s.platform = emptyImage(c.target), &c.target
			s.lowered = s.foreign
			continue
		}
		looked = append(looked, s)
		group.Go(func() error { return syntax.At(c.resolveBase(ctx, s), s.source.Ranges) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, s := range looked {
		if s.resolved && s.context == nil && s.image != nil && s.platform != nil && s.files != nil {
			c.opt.Linter.For(s.source.Comments).BasePlatform(&s.source.Meta, s.baseName, *s.platform, s.image.Platform)
		}
	}
	return nil
}

// resolveBase looks up one base. It changes nothing but s.
func (c *conversion) resolveBase(ctx context.Context, s *stage) error {
	defer func() { s.lowered = s.lowered || s.foreign }()
	named, err := reference.ParseNormalizedNamed(s.baseName)
	if err != nil {
		return fmt.Errorf("failed to parse stage name %q: %w", s.baseName, err)
	}
	if !s.resolved {
		return nil
	}
	if s.context != nil {
		return c.replaceStage(ctx, s)
	}
	platform := c.target
	if s.platform != nil {
		platform = *s.platform
	}
	ref := reference.TagNameOnly(named).String()
	found, err := c.namedContext(ctx, ref, &platform)
	if err != nil {
		return err
	}
	if found != nil {
		return c.useContext(ctx, s, found, platform)
	}
	return c.useImage(ctx, s, ref, platform)
}

// replaceStage puts a named context in the place of a whole stage.
func (c *conversion) replaceStage(ctx context.Context, s *stage) error {
	loaded, err := s.context.Load(ctx)
	if err != nil {
		return err
	}
	s.lowered = true
	s.files = openContext(loaded, s.reads)
	s.env, s.image = newEnviron(), &imageConfig{}
	if loaded.Config == nil {
		return nil
	}
	if s.image, err = parseImage(loaded.Config); err != nil {
		return err
	}
	s.image.Created = nil
	if s.image.Architecture != "" && s.image.OS != "" {
		platform := s.image.Platform
		s.platform = &platform
	}
	s.adopt()
	return nil
}

// useContext starts a stage from a named context that has the name of its base.
func (c *conversion) useContext(ctx context.Context, s *stage, found Context, platform ocispecs.Platform) error {
	loaded, err := found.Load(ctx)
	if err != nil {
		return err
	}
	s.image = emptyImage(platform)
	if loaded.Config != nil {
		if s.image, err = parseImage(loaded.Config); err != nil {
			return err
		}
	}
	s.baseImage = cloneImage(s.image)
	s.image.Created = nil
	s.files, s.platform = openContext(loaded, s.reads), &platform
	return nil
}

// openContext puts off the choice of files until all stages are lowered; reads
// is filled until then.
func openContext(loaded LoadedContext, reads *pathSet) *node {
	if loaded.Open == nil {
		return nil
	}
	return &node{work: &openWork{open: func(compose.Info) (compose.State, error) { return loaded.Open(reads.follow()) }}}
}

// useImage starts a stage from an image.
func (c *conversion) useImage(ctx context.Context, s *stage, ref string, platform ocispecs.Platform) error {
	prefix := "["
	if c.opt.MultiPlatform {
		prefix += platforms.FormatAll(platform) + " "
	}
	found, err := c.resolver.Image(ctx, ref, platform, prefix+"internal] load metadata for "+ref)
	if err != nil {
		return suggest.Error(fmt.Errorf("%s: %w", s.baseName, err), s.baseName, append(c.names(), commonImages()...))
	}
	if found.Ref != "" {
		ref = found.Ref
	}
	if found.Digest != "" {
		named, err := reference.ParseNormalizedNamed(ref)
		if err != nil {
			return fmt.Errorf("failed to parse ref %q: %w", ref, err)
		}
		pinned, err := reference.WithDigest(named, found.Digest)
		if err != nil {
			return err
		}
		ref = pinned.String()
	}
	if s.image, err = parseImage(found.Config); err != nil {
		return err
	}
	s.baseImage = cloneImage(s.image)
	s.image.Created = nil
	if s.platform == nil && c.implicit {
		platform = c.imagePlatform(s.image, platform)
	}
	s.platform = &platform
	if hasLayers(s.image) {
		s.files = c.imageSource(s, ref, found.ResolveMode)
	}
	return nil
}

// imageSource is the first step of a stage. Steps are numbered from here, so
// the name counts it.
func (c *conversion) imageSource(s *stage, ref, resolveMode string) *node {
	source := compose.ImageSource{Ref: ref, ResolveMode: resolveMode}
	if resolveMode == "default" {
		source.ResolveMode = ""
	}
	text := s.source.Text
	return &node{
		label: label{
			name: c.stepName(s, "FROM "+ref, s.platform, newEnviron()), source: &text, ranges: s.source.Ranges, platform: s.platform,
		},
		work: &openWork{
			key:  ref + " " + platforms.FormatAll(*s.platform),
			open: func(info compose.Info) (compose.State, error) { return compose.Image(source, info), nil },
		},
	}
}

// imagePlatform is the image's own platform if the builder can run it; else the
// one asked for.
func (c *conversion) imagePlatform(image *imageConfig, wanted ocispecs.Platform) ocispecs.Platform {
	if wanted.OS == image.OS && wanted.Architecture == image.Architecture {
		return wanted
	}
	for _, p := range c.opt.BuildPlatforms {
		if p.OS == image.OS && p.Architecture == image.Architecture {
			return p
		}
	}
	return wanted
}

// commonImages are proposed to people who mistyped an image's name.
func commonImages() []string {
	var names []string
	for _, name := range []string{"alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"} {
		names = append(names, name, name+":latest")
	}
	return names
}
