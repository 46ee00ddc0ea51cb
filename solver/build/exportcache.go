package build

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/graph"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
)

// cacheExports are the caches a build writes.
type cacheExports struct {
	// inline puts one into the configurations of images.
	inline bool
	list   []cacheExport
}

// cacheExport is one cache to write.
type cacheExport struct {
	remote.Exporter
	// max exports all results, not only those in the final one.
	max bool
	// ignore lets the build succeed if the cache cannot be written.
	ignore bool
}

// resolveCaches checks all caches to write before anything is built.
func (b *Builder) resolveCaches(ctx context.Context, req *Request) (*cacheExports, error) {
	out := &cacheExports{}
	for _, c := range req.CacheExports {
		if c.Type == remote.TypeInline && b.cfg.LocalCache != nil {
			out.inline = true
			continue
		}
		backend, ok := b.cfg.Caches[c.Type]
		if !ok {
			return nil, fmt.Errorf("unknown cache exporter: %q: %w", c.Type, errdefs.ErrNotFound)
		}
		e, err := backend.Exporter(ctx, c.Attrs, requestEnv{req})
		if err != nil {
			return nil, fmt.Errorf("failed to configure %v cache exporter: %w", c.Type, err)
		}
		// Values that mean nothing count as not given: clients rely on it.
		ignore, _ := strconv.ParseBool(c.Attrs["ignore-error"])
		out.list = append(out.list, cacheExport{Exporter: e, max: c.Attrs["mode"] == "max", ignore: ignore})
	}
	return out, nil
}

// requestEnv is the Env of a request that is not a build yet.
type requestEnv struct{ req *Request }

// Sessions has the client's session.
func (e requestEnv) Sessions() []string {
	if e.req.SessionID == "" {
		return nil
	}
	return []string{e.req.SessionID}
}

// Emit drops events: there is no vertex to show them at.
func (e requestEnv) Emit(solver.Event) {}

// unexport notes a vertex whose results no cache may get.
func (j *job) unexport(v *solver.Vertex) {
	if export := v.Options.ExportCache; export == nil || *export {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.unexported == nil {
		j.unexported = map[digest.Digest]bool{}
	}
	j.unexported[v.Digest] = true
}

// exportAll runs all exporters, and writes all caches meanwhile: both use the
// same layers, each of which is made once.
func (j *job) exportAll(ctx context.Context, outputs []export.Instance, src *export.Source, caches *cacheExports, res *frontend.Result) (*exported, error) {
	values, err := j.builtValues(ctx, res)
	if err != nil {
		return nil, err
	}
	defer values.release(context.WithoutCancel(ctx))
	if caches.inline {
		src.InlineCache = values.inline
	}
	var done *exported
	var written map[string]string
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		done, err = j.export(gctx, outputs, src)
		return err
	})
	group.Go(func() (err error) {
		written, err = j.exportCaches(gctx, caches.list, values)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	maps.Copy(done.values, written)
	return done, nil
}

// builtValues are the results of a build with the keys they are cached by.
type builtValues struct {
	job *job
	// byPlatform has each of them; the single one of a result under "".
	byPlatform map[string]*graph.Built
}

// builtValues asks the graph, which has them, for the values of a result.
func (j *job) builtValues(ctx context.Context, res *frontend.Result) (*builtValues, error) {
	v := &builtValues{job: j, byPlatform: map[string]*graph.Built{}}
	refs := maps.Clone(res.Refs)
	if refs == nil {
		refs = map[string]frontend.Ref{"": res.Ref}
	}
	for platform, r := range refs {
		lazy, ok := r.(*lazyRef)
		if !ok {
			continue
		}
		built, err := j.graph.Build(ctx, lazy.origin.graph.edge)
		if err != nil {
			v.release(context.WithoutCancel(ctx))
			return nil, err
		}
		v.byPlatform[platform] = built
	}
	return v, nil
}

func (v *builtValues) release(ctx context.Context) {
	for _, b := range v.byPlatform {
		if b.Result != nil {
			_ = b.Result.Release(ctx)
		}
	}
}

// inline returns the cache for the image of one platform.
func (v *builtValues) inline(ctx context.Context, platform string, layers []ref.Layer) ([]byte, error) {
	built, ok := v.byPlatform[platform]
	if !ok {
		if built, ok = v.byPlatform[""]; !ok {
			return nil, nil
		}
	}
	final, err := ref.From(built.Result)
	if err != nil || final == nil {
		return nil, err
	}
	g, err := v.job.collect(ctx, []*solver.Key{built.Key})
	if err != nil {
		return nil, err
	}
	return g.Inline(ctx, v.job.builder.cfg.LocalCache.Refs, final, layers)
}

// collect returns the records under keys.
func (j *job) collect(ctx context.Context, keys []*solver.Key) (*remote.Graph, error) {
	tables, err := j.caches.tables(ctx)
	if err != nil {
		return nil, err
	}
	return remote.Collect(ctx, j.builder.cfg.LocalCache.Keys, keys, remote.CollectOptions{Imported: tables, Without: j.withoutKeys()})
}

// withoutKeys returns the keys of vertices that no cache may get.
func (j *job) withoutKeys() map[digest.Digest]bool {
	j.mu.Lock()
	unexported := maps.Clone(j.unexported)
	j.mu.Unlock()
	out := map[digest.Digest]bool{}
	if len(unexported) == 0 {
		return out
	}
	for _, v := range j.graph.Plan() {
		if !unexported[v.Digest] {
			continue
		}
		for _, o := range v.Outputs {
			out[o.DefinitionKey], out[o.FinalKey] = true, true
		}
	}
	return out
}

// exportCaches writes caches side by side and returns what clients are told.
func (j *job) exportCaches(ctx context.Context, list []cacheExport, values *builtValues) (map[string]string, error) {
	out := map[string]string{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range list {
		group.Go(func() error {
			dgst := digest.FromString(j.request.SessionID + "-cache-" + strconv.Itoa(i))
			err := j.inline(dgst, c.Name(), func(env solver.Env) error {
				written, err := j.exportCache(ctx, c, values, env)
				mu.Lock()
				defer mu.Unlock()
				for k, v := range written {
					if strings.HasPrefix(k, "cache.") {
						out[k] = v
					}
				}
				return err
			})
			if c.ignore && ctx.Err() == nil {
				return nil
			}
			return err
		})
	}
	return out, group.Wait()
}

// exportCache writes one cache.
func (j *job) exportCache(ctx context.Context, c cacheExport, values *builtValues, env solver.Env) (map[string]string, error) {
	local := j.builder.cfg.LocalCache
	ctx, release, err := local.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	bundle, err := j.prepareCache(ctx, c, values, env)
	if err != nil {
		return nil, err
	}
	defer bundle.Release(context.WithoutCancel(ctx))
	defer progress.Status(env, "sending cache export", "").Done()
	if len(bundle.Config.Layers) == 0 {
		progress.Status(env, "skipping cache export for empty result", "").Done()
		return nil, nil
	}
	return c.Export(ctx, bundle, local.Provider(bundle), env)
}

// prepareCache finds out what a cache gets and makes the blobs.
func (j *job) prepareCache(ctx context.Context, c cacheExport, values *builtValues, env solver.Env) (*remote.Bundle, error) {
	defer progress.Status(env, "preparing build cache for export", "").Done()
	var keys []*solver.Key
	opt := remote.BundleOptions{Layers: c.Layers(), Max: c.max, Env: env, Load: j.builder.cfg.LocalCache.Load}
	for _, built := range values.byPlatform {
		r, err := ref.From(built.Result)
		if err != nil {
			return nil, err
		}
		keys, opt.Final = append(keys, built.Key), append(opt.Final, r)
	}
	g, err := j.collect(ctx, keys)
	if err != nil {
		return nil, err
	}
	return g.Bundle(ctx, j.builder.cfg.LocalCache.Refs, opt)
}
