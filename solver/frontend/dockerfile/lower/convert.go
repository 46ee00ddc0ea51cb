package lower

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/patternmatcher"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// Result is a lowered target.
type Result struct {
	// Graph gives the target's files, marshalled for Platform.
	Graph    compose.State
	Platform ocispecs.Platform
	// Extras are the stages, and the context, that the file wants scanned with
	// the target, by name.
	Extras map[string]compose.State
	// Config is the image configuration, BaseConfig the base image's (nil if
	// there is none).
	Config, BaseConfig []byte
	// ImagePlatform is what Config says.
	ImagePlatform ocispecs.Platform
	// Epoch is the time that was written into the image, nil for none.
	Epoch *time.Time
	// IgnoreCache tells that steps of the target or of Extras run afresh.
	IgnoreCache bool
}

// Convert lowers the target stage of a parsed file. text is the file, for the
// places of ops; it may be nil. Errors carry the places they are about (see
// syntax.Places).
func Convert(ctx context.Context, file *instruction.File, text *compose.Text, resolver Resolver, opt Options) (*Result, error) {
	if len(file.Stages) == 0 {
		return nil, errNoStages
	}
	c := newConversion(file, resolver, opt)
	target, err := c.run(ctx)
	if err != nil {
		return nil, err
	}
	return c.result(ctx, target, text)
}

// conversion is one run over a file.
type conversion struct {
	file     *instruction.File
	resolver Resolver
	opt      Options
	// target is the platform built for, implicit tells that nobody asked for
	// it.
	target   ocispecs.Platform
	implicit bool
	proxy    *compose.Proxy
	budget   *budget

	// epoch is the time to write into the image, nil for none.
	epoch *time.Time

	// args are the global arguments, declared the names that the file gives
	// them.
	args     *environ
	declared []string
	inputs   *inputs

	stages []*stage
	byName map[string]*stage

	// context is the main context and reads what is read of it; ignored matches
	// what the client leaves out.
	context *node
	reads   *pathSet
	ignored *patternmatcher.PatternMatcher
	groups  int
}

// newConversion settles the platforms. The builder's own is the default for
// both what runs and what is built.
func newConversion(file *instruction.File, resolver Resolver, opt Options) *conversion {
	c := &conversion{
		file: file, resolver: resolver, opt: opt, byName: map[string]*stage{}, reads: &pathSet{},
		budget: newBudget(opt.Share), proxy: proxyFrom(opt.BuildArgs),
	}
	if opt.Platform == nil {
		c.implicit = true
	}
	switch {
	case opt.Platform != nil && len(opt.BuildPlatforms) == 0:
		c.opt.BuildPlatforms = []ocispecs.Platform{*opt.Platform}
	case len(opt.BuildPlatforms) == 0:
		c.opt.BuildPlatforms = []ocispecs.Platform{platforms.DefaultSpec()}
	}
	c.target = c.opt.BuildPlatforms[0]
	if opt.Platform != nil {
		c.target = *opt.Platform
	}
	return c
}

// run goes through the phases that doc.go tells of, up to the finished plan.
func (c *conversion) run(ctx context.Context) (*stage, error) {
	c.checkDefaults()
	c.inputs = newInputs(nil)
	var err error
	if c.args, c.declared, err = c.globalArgs(c.opt.BuildArgs); err != nil {
		return nil, err
	}
	if err := c.resolveEpoch(ctx); err != nil {
		return nil, err
	}
	if err := c.declare(ctx); err != nil {
		return nil, err
	}
	target, err := c.pickTarget()
	if err != nil {
		return nil, err
	}
	if err := c.bind(); err != nil {
		return nil, err
	}
	needed, err := c.resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	c.context = &node{work: &openWork{open: func(compose.Info) (compose.State, error) {
		return c.resolver.Main(ctx, c.reads.follow())
	}}}
	if err := c.readIgnored(ctx); err != nil {
		return nil, err
	}
	for _, s := range c.stages {
		if s.lowered || !needed[s] && !c.opt.AllStages {
			continue
		}
		if err := c.lowerStage(s); err != nil {
			return nil, err
		}
	}
	target.reads.add("/")
	return target, c.opt.Linter.Err()
}

// readIgnored learns what the client leaves out of the context.
func (c *conversion) readIgnored(ctx context.Context) error {
	patterns, err := c.resolver.Ignored(ctx)
	if err != nil || len(patterns) == 0 {
		return err
	}
	c.ignored, err = patternmatcher.New(patterns)
	return err
}

// groupPrefix tells the groups of this conversion from those of other
// platforms.
func (c *conversion) groupPrefix() string { return platforms.FormatAll(c.target) }

// expand replaces variables and charges the budget.
func (c *conversion) expand(x shell.Expander, word string, env shell.Env) (shell.Result, error) {
	result, err := x.Expand(word, env)
	if err != nil {
		return result, err
	}
	return result, c.budget.spend(len(result.Text))
}

// result finishes the target's configuration and writes the graph.
func (c *conversion) result(_ context.Context, target *stage, text *compose.Text) (*Result, error) {
	image := target.image
	if len(c.opt.Labels) > 0 && image.Config.Labels == nil {
		image.Config.Labels = map[string]string{}
	}
	for name, value := range c.opt.Labels {
		image.Config.Labels[name] = value
	}
	if !c.implicit {
		c.setPlatform(image)
	}
	image.Platform = platforms.Normalize(image.Platform)
	out := &Result{Platform: c.target, ImagePlatform: image.Platform, IgnoreCache: target.ignoreCache, Epoch: c.epoch}
	var err error
	if out.Config, err = marshalImage(image); err != nil {
		return nil, err
	}
	if target.baseImage != nil {
		if out.BaseConfig, err = marshalImage(target.baseImage); err != nil {
			return nil, err
		}
	}
	extras := c.extras(target)
	names := slices.Sorted(maps.Keys(extras))
	results := []*node{target.files}
	for _, name := range names {
		results = append(results, extras[name].files)
		out.IgnoreCache = out.IgnoreCache || extras[name].ignoreCache
	}
	states, err := write(results, text)
	if err != nil {
		return nil, err
	}
	out.Graph = states[0]
	for i, name := range names {
		if out.Extras == nil {
			out.Extras = map[string]compose.State{}
		}
		out.Extras[name] = states[i+1]
	}
	return out, nil
}

// setPlatform makes the image say the platform that was asked for. Details that
// nobody asked for stay, unless they are those of another platform.
func (c *conversion) setPlatform(image *imageConfig) {
	same := image.OS == c.target.OS && image.Architecture == c.target.Architecture
	image.OS, image.Architecture = c.target.OS, c.target.Architecture
	if c.target.Variant != "" || !same {
		image.Variant = c.target.Variant
	}
	if c.target.OSVersion != "" || !same {
		image.OSVersion = c.target.OSVersion
	}
	if c.target.OSFeatures != nil {
		image.OSFeatures = c.target.OSFeatures
	}
}
