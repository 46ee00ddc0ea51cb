package build

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
)

// importedCaches are the remote caches that one build looks into.
type importedCaches struct {
	mu    sync.Mutex
	byID  map[string]*remote.Level
	order []solver.Cache
	// read reads a cache in the background; nil when the build is over.
	read func(id string, c CacheRequest, into *remote.Level)
}

// levels returns the caches in the order they were asked for.
func (c *importedCaches) levels() []solver.Cache {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

// tables waits for all caches and returns what was read.
func (c *importedCaches) tables(ctx context.Context) ([]*remote.Table, error) {
	var out []*remote.Table
	for _, level := range c.levels() {
		tables, err := level.(*remote.Level).Tables(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, tables...)
	}
	return out, nil
}

// importCaches begins to read the caches of the request and lets frontends ask
// for more. The returned function ends the reading.
func (j *job) importCaches(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	j.caches.mu.Lock()
	j.caches.byID = map[string]*remote.Level{}
	j.caches.read = func(id string, c CacheRequest, into *remote.Level) {
		reading.Go(func() { into.Fill(j.readCache(ctx, id, c)) })
	}
	j.caches.mu.Unlock()
	for _, c := range j.request.CacheImports {
		j.importCache(c)
	}
	return func() {
		j.caches.mu.Lock()
		j.caches.read = nil
		j.caches.mu.Unlock()
		cancel()
		reading.Wait()
	}
}

// importCache adds a cache to those of the build, once.
func (j *job) importCache(c CacheRequest) {
	id := importID(c)
	j.caches.mu.Lock()
	defer j.caches.mu.Unlock()
	if _, known := j.caches.byID[id]; known || j.caches.read == nil || j.builder.cfg.LocalCache == nil {
		return
	}
	level := j.builder.cfg.LocalCache.NewLevel()
	j.caches.byID[id] = level
	j.caches.order = append(j.caches.order, level)
	j.caches.read(id, c, level)
}

// importID is what a cache is called by.
func importID(c CacheRequest) string {
	if ref := c.Attrs["ref"]; ref != "" && c.Type == "registry" {
		return ref
	}
	h := fnv.New64a()
	for _, k := range slices.Sorted(maps.Keys(c.Attrs)) {
		_, _ = io.WriteString(h, k+"\x00"+c.Attrs[k]+"\x00")
	}
	return fmt.Sprintf("%s:%d", c.Type, h.Sum64())
}

// readCache reads what a cache has, as a vertex of its own. A cache that cannot
// be read is empty: a build never fails for lack of one.
func (j *job) readCache(ctx context.Context, id string, c CacheRequest) []*remote.Table {
	name := "importing cache manifest from " + id
	var tables []*remote.Table
	err := j.inline(digest.FromString(name), name, func(env solver.Env) error {
		backend, ok := j.builder.cfg.Caches[c.Type]
		if !ok {
			return fmt.Errorf("unknown cache importer: %s: %w", c.Type, errdefs.ErrNotFound)
		}
		importer, err := backend.Importer(ctx, c.Attrs, env)
		if err != nil {
			return fmt.Errorf("failed to configure %v cache importer: %w", c.Type, err)
		}
		tables, err = importer.Import(ctx, env)
		return err
	})
	if err != nil {
		log.G(ctx).WithError(err).Debugf("import cache from %s", id)
		return nil
	}
	return tables
}
