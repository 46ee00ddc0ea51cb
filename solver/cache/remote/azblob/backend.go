package azblob

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/cache/remote/artifact"
	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
)

// parallel is how many blobs are written at once.
const parallel = 4

// config is the attributes of one cache.
type config struct {
	url, account, container, secret string
	prefix, manifests, blobs        string
	names                           []string
}

// parse reads attributes. Errors are errdefs InvalidArgument and name the
// attribute.
func parse(attrs map[string]string) (*config, error) {
	c := &config{secret: attrs["secret_access_key"], container: "buildkit-cache", manifests: "manifests", blobs: "blobs", names: []string{"buildkit"}}
	for _, a := range []struct {
		name, env string
		to        *string
	}{
		{"account_url", "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", &c.url},
		{"account_name", "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME", &c.account},
		{"container", "BUILDKIT_AZURE_STORAGE_CONTAINER", &c.container},
		{"prefix", "BUILDKIT_AZURE_STORAGE_PREFIX", &c.prefix},
		{"manifests_prefix", "", &c.manifests},
		{"blobs_prefix", "", &c.blobs},
	} {
		v, ok := attrs[a.name]
		if !ok && a.env != "" {
			v, ok = os.LookupEnv(a.env)
		}
		if ok {
			*a.to = v
		}
	}
	if c.url == "" {
		return nil, fmt.Errorf("either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache: %w", errdefs.ErrInvalidArgument)
	}
	u, err := url.Parse(c.url)
	if err != nil {
		return nil, fmt.Errorf("azure storage account url provided is not a valid url: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if c.account == "" {
		c.account, _, _ = strings.Cut(u.Hostname(), ".")
	}
	if c.account == "" {
		return nil, fmt.Errorf("account_name is not given and account_url %q does not tell it: %w", c.url, errdefs.ErrInvalidArgument)
	}
	if v, ok := attrs["name"]; ok {
		c.names = strings.Split(v, ";")
	}
	return c, nil
}

// Backend is the cache type "azblob".
type Backend struct{}

var _ remote.Backend = Backend{}

// place is where the cache of attributes is.
func place(attrs map[string]string, create bool) (bucket.Place, error) {
	c, err := parse(attrs)
	if err != nil {
		return bucket.Place{}, err
	}
	layers, err := artifact.ParseLayers(attrs)
	if err != nil {
		return bucket.Place{}, err
	}
	s, err := open(c, create)
	if err != nil {
		return bucket.Place{}, err
	}
	p := bucket.Place{
		Store: s, Name: "container " + c.container, Refresh: math.MaxInt64, Parallel: parallel, Layers: layers, Now: time.Now,
		Blob: func(d digest.Digest) string { return path.Join(c.prefix, c.blobs, d.String()) },
	}
	for _, name := range c.names {
		p.Manifests = append(p.Manifests, path.Join(c.prefix, c.manifests, name))
	}
	return p, nil
}

// Exporter implements remote.Backend.
func (Backend) Exporter(_ context.Context, attrs map[string]string, _ solver.Env) (remote.Exporter, error) {
	p, err := place(attrs, true)
	if err != nil {
		return nil, err
	}
	return &bucket.Exporter{Place: p, Title: "exporting cache to Azure Blob Storage"}, nil
}

// Importer implements remote.Backend.
func (Backend) Importer(_ context.Context, attrs map[string]string, _ solver.Env) (remote.Importer, error) {
	p, err := place(attrs, false)
	if err != nil {
		return nil, err
	}
	return &bucket.Importer{Place: p}, nil
}
