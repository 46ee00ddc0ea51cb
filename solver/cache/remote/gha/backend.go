package gha

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	actionscache "github.com/tonistiigi/go-actions-cache"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/cache/remote/artifact"
	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
)

const (
	// defaultTimeout bounds the waiting for a service that asks for patience.
	defaultTimeout = 10 * time.Minute
	// resultsHost is in the URL of services of version 2.
	resultsHost = "results-receiver.actions.githubusercontent.com"
	// blobPrefix begins the keys of blobs (wire format fact).
	blobPrefix = "buildkit-blob-1-"
	// parallel is how many blobs are written at once: the service is quick to
	// refuse clients that hurry.
	parallel = 2
)

// config is the attributes of one cache.
type config struct {
	scope, token, url string
	version           int
	timeout           time.Duration
}

// parse reads attributes. Errors are errdefs InvalidArgument and name the
// attribute, never the token.
func parse(attrs map[string]string) (*config, error) {
	c := &config{scope: "buildkit", token: attrs["token"], timeout: defaultTimeout}
	if _, ok := attrs["token"]; !ok {
		return nil, fmt.Errorf("token not set for github actions cache: %w", errdefs.ErrInvalidArgument)
	}
	if v, ok := attrs["scope"]; ok {
		c.scope = v
	}
	if v, ok := attrs["version"]; ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, fmt.Errorf("failed to parse api version %q, expected positive integer: %w", v, errdefs.ErrInvalidArgument)
		}
		c.version = n
	}
	if v, ok := attrs["timeout"]; ok {
		d, err := time.ParseDuration(v)
		if err != nil {
			return nil, fmt.Errorf("failed to parse timeout for github actions cache: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		c.timeout = d
	}
	if v, ok := attrs["url_v2"]; ok && c.version != 1 {
		c.url, c.version = v, 2
	}
	if c.url == "" {
		c.url = attrs["url"]
	}
	if c.url == "" {
		return nil, fmt.Errorf("url not set for github actions cache: %w", errdefs.ErrInvalidArgument)
	}
	if c.version == 0 {
		c.version = 1
		if strings.Contains(c.url, resultsHost) {
			c.version = 2
		}
	}
	return c, nil
}

// indexKey is where the config for a scope is.
func (c *config) indexKey(scope string) string {
	return "index-" + c.scope + "-1-" + digest.FromString(scope).Encoded()[:8]
}

// Backend is the cache type "gha".
type Backend struct {
	// UserAgent names the builder to the service.
	UserAgent string
}

var _ remote.Backend = Backend{}

// open returns the service and where a cache is in it, but for the manifests.
func (b Backend) open(attrs map[string]string) (*config, *actionscache.Cache, bucket.Place, error) {
	c, err := parse(attrs)
	if err != nil {
		return nil, nil, bucket.Place{}, err
	}
	layers, err := artifact.ParseLayers(attrs)
	if err != nil {
		return nil, nil, bucket.Place{}, err
	}
	service, err := actionscache.New(c.token, c.url, c.version > 1, actionscache.Opt{Timeout: c.timeout, UserAgent: b.UserAgent})
	if err != nil {
		return nil, nil, bucket.Place{}, fmt.Errorf("token of github actions cache: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return c, service, bucket.Place{
		Store: &store{service}, Name: "GitHub Actions cache", Refresh: math.MaxInt64, Parallel: parallel, Layers: layers, Now: time.Now,
		Blob: func(d digest.Digest) string { return blobPrefix + d.String() },
	}, nil
}

// Exporter implements remote.Backend.
func (b Backend) Exporter(_ context.Context, attrs map[string]string, _ solver.Env) (remote.Exporter, error) {
	c, service, p, err := b.open(attrs)
	if err != nil {
		return nil, err
	}
	scope := ""
	for _, s := range service.Scopes() {
		if s.Permission&actionscache.PermissionWrite != 0 {
			scope = s.Scope
		}
	}
	p.Manifests = []string{c.indexKey(scope)}
	return &bucket.Exporter{Place: p, Title: "exporting to GitHub Actions Cache"}, nil
}

// Importer implements remote.Backend.
func (b Backend) Importer(_ context.Context, attrs map[string]string, _ solver.Env) (remote.Importer, error) {
	c, service, p, err := b.open(attrs)
	if err != nil {
		return nil, err
	}
	var out importer
	for _, s := range service.Scopes() {
		scoped := p
		scoped.Manifests = []string{c.indexKey(s.Scope)}
		out = append(out, &bucket.Importer{Place: scoped})
	}
	return out, nil
}

// importer reads the caches of several scopes.
type importer []*bucket.Importer

// Import implements remote.Importer.
func (i importer) Import(ctx context.Context, env solver.Env) ([]*remote.Table, error) {
	var out []*remote.Table
	for _, scope := range i {
		tables, err := scope.Import(ctx, env)
		if err != nil {
			return nil, err
		}
		out = append(out, tables...)
	}
	return out, nil
}
