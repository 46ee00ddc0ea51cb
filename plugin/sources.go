package plugin

import (
	"context"
	"path/filepath"
	"regexp"

	"github.com/kilnbuild/kiln/plugin/config"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/blob"
	"github.com/kilnbuild/kiln/solver/source/git"
	"github.com/kilnbuild/kiln/solver/source/http"
	"github.com/kilnbuild/kiln/solver/source/image"
	"github.com/kilnbuild/kiln/solver/source/layout"
	"github.com/kilnbuild/kiln/solver/source/local"
)

// newSources opens everything that bytes can come from.
func (b *Builder) newSources(registries *registry.Client, sessions *session.Manager, version string) (*source.Registry, error) {
	h := &b.host
	locals, err := local.New(local.Config{Sessions: sessions, Refs: b.refs, Root: filepath.Join(h.Root, "local")})
	if err != nil {
		return nil, err
	}
	urls, err := http.New(http.Config{Sessions: sessions, Refs: b.refs, Root: filepath.Join(h.Root, "http"), UserAgent: userAgent(version)})
	if err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { urls.Close(); return nil })
	blobs := blob.New(blob.Config{Registries: registries, Sessions: sessions, Refs: b.refs})
	repositories, err := git.New(git.Config{Sessions: sessions, Refs: b.refs, Blobs: blobs, Root: filepath.Join(h.Root, "git")})
	if err != nil {
		return nil, err
	}
	pulls := image.Config{
		Registries: registries, Refs: b.refs, Content: h.Content, Leases: h.Leases, Namespace: h.Namespace, Images: h.Images,
	}
	images, layouts := image.New(pulls), layout.New(pulls, sessions)
	b.forget = []func(context.Context) error{images.Forget, layouts.Forget}
	return source.NewRegistry(locals, images, layouts, urls, repositories, blobs), nil
}

// newRegistries reads the configuration of registries.
func newRegistries(cfg *config.Config, sessions *session.Manager, version string) (*registry.Client, error) {
	out := registry.Config{Hosts: registryHosts(cfg), Sessions: sessions, UserAgent: userAgent(version)}
	if s := cfg.System; s != nil && s.MaxRegistryConcurrency != nil {
		out.Concurrency = int(*s.MaxRegistryConcurrency)
	}
	return registry.New(out)
}

// registryHosts reads what is special about registries.
func registryHosts(cfg *config.Config) map[string]registry.HostConfig {
	out := map[string]registry.HostConfig{}
	for host, r := range cfg.Registry {
		h := registry.HostConfig{
			Mirrors: r.Mirrors, PlainHTTP: r.PlainHTTP, Insecure: r.Insecure != nil && *r.Insecure,
			CAs: r.RootCAs, TLSDirs: r.TLSConfigDir,
		}
		for _, pair := range r.KeyPairs {
			h.KeyPairs = append(h.KeyPairs, registry.KeyPair{Key: pair.Key, Certificate: pair.Certificate})
		}
		out[host] = h
	}
	return out
}

// release is what of a version servers are told: which one exactly is nobody's
// business, and statistics of theirs would fall apart. What follows it is empty
// for released versions.
var release = regexp.MustCompile(`^(v[0-9]+\.[0-9]+)\.[0-9]+(.*)$`)

// userAgent is what servers know builders by; some serve those that call
// themselves so differently from browsers.
func userAgent(version string) string {
	m := release.FindStringSubmatch(version)
	switch {
	case m == nil:
		return "buildkit/v0.0-dev"
	case m[2] == "":
		return "buildkit/" + m[1]
	}
	return "buildkit/" + m[1] + "-dev"
}
