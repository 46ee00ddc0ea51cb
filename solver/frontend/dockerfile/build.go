package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lint"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// build lowers and solves the target for every platform.
func (r *request) build(ctx context.Context) (*frontend.Result, error) {
	config, err := r.lintConfig()
	if err != nil {
		return nil, err
	}
	var warnings []lint.Warning
	linter := lint.New(config, func(w lint.Warning) { warnings = append(warnings, w) })
	file, err := r.parse(linter)
	if err == nil {
		var result *frontend.Result
		if result, err = r.buildAll(ctx, file, linter); err == nil {
			return result, r.warn(ctx, warnings)
		}
	}
	_ = r.warn(ctx, warnings) // the error says more
	return nil, err
}

// buildAll builds for all platforms at the same time. Warnings are the same for
// all; the first platform gives them.
func (r *request) buildAll(ctx context.Context, file *instruction.File, linter *lint.Linter) (*frontend.Result, error) {
	scanner, err := r.scanner(ctx)
	if err != nil {
		return nil, err
	}
	targets := []*ocispecs.Platform{nil}
	if len(r.opts.platforms) > 0 {
		targets = targets[:0]
		for i := range r.opts.platforms {
			targets = append(targets, &r.opts.platforms[i])
		}
	}
	out := &collector{multi: r.opts.multi, platforms: make([]frontend.Platform, len(targets))}
	group, ctx := errgroup.WithContext(ctx)
	for i, target := range targets {
		mine := linter
		if i > 0 {
			mine = nil
		}
		group.Go(func() error {
			built, err := r.buildOne(ctx, file, target, mine)
			if err != nil {
				return err
			}
			return r.scan(ctx, scanner, out.add(i, target, built), built, out)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out.finish()
}

// built is the result for one platform.
type built struct {
	*lower.Result
	ref frontend.Ref
}

// buildOne lowers for one platform and hands the graph over. Nothing of it has
// to have run when it returns: the builder evaluates it when the result is
// exported, and several platforms are then free to overlap.
func (r *request) buildOne(ctx context.Context, file *instruction.File, target *ocispecs.Platform, linter *lint.Linter) (*built, error) {
	lowered, err := lower.Convert(ctx, file, r.text, r, r.lowerOptions(target, linter))
	if err != nil {
		return nil, err
	}
	options := r.marshalOptions()
	options.Platform = lowered.Platform
	def, err := compose.Marshal(lowered.Graph, options)
	if err != nil {
		return nil, fmt.Errorf("failed to marshal LLB definition: %w", err)
	}
	result, err := r.bridge.Solve(ctx, frontend.SolveRequest{Definition: def, CacheImports: r.opts.cache})
	if err != nil {
		return nil, err
	}
	return &built{Result: lowered, ref: result.Ref}, nil
}

// lowerOptions is what the request says, in the words of package lower. The
// maps are shared by all platforms; lower copies what it changes.
func (r *request) lowerOptions(target *ocispecs.Platform, linter *lint.Linter) lower.Options {
	return lower.Options{
		Target: r.opts.target, BuildArgs: r.opts.buildArgs, Labels: r.opts.labels, Platform: target,
		BuildPlatforms: r.opts.native, MultiPlatform: r.opts.multi, NoCache: r.opts.noCache, Exec: r.opts.exec, Linter: linter,
		Share: len(r.opts.platforms), NoMerge: r.info.LLBCaps != nil && !r.info.LLBCaps["mergeop"],
	}
}

// warn shows what the rules found.
func (r *request) warn(ctx context.Context, warnings []lint.Warning) error {
	for _, w := range warnings {
		if err := r.bridge.Warn(ctx, solver.WarningEvent{
			Vertex: r.vertex, Level: 1, Short: []byte(w.Short()), Detail: [][]byte{[]byte(w.Rule.Description)},
			URL: w.Rule.URL, Source: r.text, Ranges: lower.Ranges(w.Ranges),
		}); err != nil {
			return err
		}
	}
	return nil
}

// collector puts the results of all platforms together.
type collector struct {
	multi     bool
	mu        sync.Mutex
	result    frontend.Result
	platforms []frontend.Platform
}

// add puts in the result for one platform and returns its id. Without a requested platform the
// result is for the one this program runs on, as that is what the builder
// assumes, too.
func (c *collector) add(i int, target *ocispecs.Platform, b *built) string {
	platform := platforms.DefaultSpec()
	if target != nil {
		platform = *target
	}
	platform = platforms.Normalize(platform)
	id, suffix := platforms.FormatAll(platform), ""
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.multi {
		suffix = "/" + id
		if c.result.Refs == nil {
			c.result.Refs = map[string]frontend.Ref{}
		}
		c.result.Refs[id] = b.ref
	} else {
		c.result.Ref = b.ref
	}
	c.result.SetMeta(frontend.MetaImageConfig+suffix, b.Config)
	if b.BaseConfig != nil {
		c.result.SetMeta(frontend.MetaBaseConfig+suffix, b.BaseConfig)
	}
	if b.Epoch != nil {
		c.result.SetMeta(frontend.MetaEpoch+suffix, []byte(strconv.FormatInt(b.Epoch.Unix(), 10)))
	}
	c.platforms[i] = frontend.Platform{ID: id, Platform: extend(platform, b.ImagePlatform)}
	return id
}

// extend takes the details of a Windows platform from the image if nobody asked
// for any.
func extend(platform, image ocispecs.Platform) ocispecs.Platform {
	if platform.OS != "windows" || image.OS != platform.OS {
		return platform
	}
	if platform.OSVersion == "" {
		platform.OSVersion = image.OSVersion
	}
	if platform.OSFeatures == nil {
		platform.OSFeatures = slices.Clone(image.OSFeatures)
	}
	return platforms.Normalize(platform)
}

// finish adds the list of platforms: exporters need it to tell the results
// apart, in the order the client asked for them.
func (c *collector) finish() (*frontend.Result, error) {
	encoded, err := json.Marshal(frontend.Platforms{Platforms: c.platforms})
	if err != nil {
		return nil, fmt.Errorf("marshal platforms: %w", err)
	}
	c.result.SetMeta(frontend.MetaPlatforms, encoded)
	return &c.result, nil
}
