package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/blob"
)

// Config is what the source needs.
type Config struct {
	Sessions *session.Manager
	Refs     *ref.Store
	// Blobs, optional, brings bundles.
	Blobs *blob.Source
	// Root is a directory of the source's own, for indexes, known hosts and
	// sockets of agents while they are in use. What is in it is removed.
	Root string
}

// Source answers to the scheme "git".
type Source struct {
	cfg   Config
	tmp   string
	memo  *session.Memo[resolved]
	locks locks
}

var (
	_ source.Source   = (*Source)(nil)
	_ source.Resolver = (*Source)(nil)
)

// New returns a source.
func New(cfg Config) (*Source, error) {
	// The name is short: a socket's path has at most 107 bytes.
	tmp := filepath.Join(cfg.Root, "t")
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("clear directory for git: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("make directory for git: %w", err)
	}
	return &Source{cfg: cfg, tmp: tmp, memo: session.NewMemo[resolved](cfg.Sessions)}, nil
}

// Schemes returns "git".
func (s *Source) Schemes() []string { return []string{"git"} }

// Open reads the remote and the attributes.
func (s *Source) Open(_ context.Context, id source.Identifier) (source.Instance, error) {
	sp, err := parseSpec(id)
	if err != nil {
		return nil, err
	}
	return &instance{source: s, spec: sp}, nil
}

// Resolve describes what the identifier names. The commit's time and the
// objects themselves are looked up only if they are asked for, or a signature
// has to be verified: that takes the commit itself.
func (s *Source) Resolve(ctx context.Context, env solver.Env, id source.Identifier, opt source.ResolveOptions) (*source.Meta, error) {
	sp, err := parseSpec(id)
	if err != nil {
		return nil, err
	}
	r, err := s.resolve(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	m := &source.GitMeta{Ref: r.Ref, Checksum: r.Checksum}
	if !sp.keepGitDir {
		m.CommitChecksum = r.CommitChecksum
	}
	if !opt.CommitTime && !opt.GitObject && sp.signed == nil {
		return &source.Meta{Git: m}, nil
	}
	o, err := s.inspect(ctx, env, sp, r)
	if err != nil {
		return nil, err
	}
	if err := sp.signed.verify(o); err != nil {
		return nil, fmt.Errorf("signature of %s: %w", sp.remote, err)
	}
	if opt.CommitTime {
		m.CommitTime = &o.time
	}
	if opt.GitObject {
		m.CommitObject, m.TagObject = o.commit, o.tag
		if m.CommitChecksum = ""; o.tag != nil {
			m.CommitChecksum = o.commitID
		}
	}
	return &source.Meta{Git: m}, nil
}

// instance is one reference of one build.
type instance struct {
	source *Source
	spec   *spec
	// resolved is what Key found; nil before.
	resolved *resolved
}

// Key names the commit and how it is checked out.
func (in *instance) Key(ctx context.Context, env solver.Env) (source.Key, error) {
	if in.resolved == nil {
		r, err := in.source.resolve(ctx, env, in.spec)
		if err != nil {
			return source.Key{}, err
		}
		if in.spec.signed != nil {
			o, err := in.source.inspect(ctx, env, in.spec, r)
			if err != nil {
				return source.Key{}, err
			}
			if err := in.spec.signed.verify(o); err != nil {
				return source.Key{}, fmt.Errorf("signature of %s: %w", in.spec.remote, err)
			}
		}
		in.resolved = &r
	}
	return source.Key{Definition: in.spec.key(*in.resolved), Pin: in.resolved.Checksum}, nil
}

// Fetch checks out what Key found.
func (in *instance) Fetch(ctx context.Context, env solver.Env) (*ref.Ref, error) {
	if _, err := in.Key(ctx, env); err != nil {
		return nil, err
	}
	a, err := in.source.newAccess(ctx, env, in.spec)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.close() }()
	if in.spec.asBundle {
		return in.source.pack(ctx, a, in.spec, *in.resolved)
	}
	return in.source.checkout(ctx, a, in.spec, *in.resolved)
}
