package request

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Cache is a cache to import from or to export to.
type Cache struct {
	Type  string
	Attrs map[string]string
}

// ExportCaches reads values of --export-cache. A value without a type is a
// registry reference.
func ExportCaches(values []string, env Env) ([]Cache, error) {
	return caches("export-cache", values, env, func(c Cache) error {
		if _, ok := c.Attrs["mode"]; !ok {
			c.Attrs["mode"] = "min"
		}
		if c.Type == "local" && c.Attrs["dest"] == "" {
			return errors.New("local cache exporter requires dest")
		}
		return nil
	})
}

// ImportCaches reads values of --import-cache.
func ImportCaches(values []string, env Env) ([]Cache, error) {
	return caches("import-cache", values, env, func(c Cache) error {
		if c.Type == "local" && c.Attrs["src"] == "" {
			return errors.New("local cache importer requires src")
		}
		return nil
	})
}

// caches reads values of either flag and puts the flag in front of errors.
func caches(flag string, values []string, env Env, check func(Cache) error) ([]Cache, error) {
	var out []Cache
	for _, v := range values {
		c, err := parseCache(flag, v, env)
		if err == nil {
			err = check(c)
		}
		if err != nil {
			return nil, fmt.Errorf("--%s %q: %w", flag, v, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// parseCache reads one value. A bare reference is the oldest form there is,
// and still in scripts.
func parseCache(flag, value string, env Env) (Cache, error) {
	if !strings.Contains(value, "type=") {
		return Cache{"registry", map[string]string{"ref": value}}, nil
	}
	e, err := parseEntry(flag, value)
	if err != nil {
		return Cache{}, err
	}
	c := Cache{e.kind, e.attrs}
	switch {
	case c.Type == "gha":
		return c, c.fillActions(env)
	case c.Type == "registry" && c.Attrs["ref"] == "":
		return c, errors.New("registry cache requires ref")
	}
	return c, nil
}

// fillActions takes what the cache service of GitHub Actions needs from the
// environment of a job.
func (c Cache) fillActions(env Env) error {
	fill := func(key string, names ...string) {
		for _, name := range names {
			if _, ok := c.Attrs[key]; ok {
				return
			}
			if v, ok := env(name); ok {
				c.Attrs[key] = v
			}
		}
	}
	version := c.Attrs["version"]
	if v, ok := env("ACTIONS_CACHE_SERVICE_V2"); ok && version == "" {
		if on, err := strconv.ParseBool(v); err == nil && on {
			version = "2"
		}
	}
	if version == "2" {
		fill("url_v2", "ACTIONS_RESULTS_URL")
	}
	fill("url", "ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL")
	fill("token", "ACTIONS_RUNTIME_TOKEN")
	if c.Attrs["url"] == "" && c.Attrs["url_v2"] == "" {
		return errors.New("cache with type gha requires url parameter to be set")
	}
	if c.Attrs["token"] == "" {
		return errors.New("cache with type gha requires token parameter or $ACTIONS_RUNTIME_TOKEN")
	}
	return nil
}
