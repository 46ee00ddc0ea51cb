package http

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
)

// DefaultMaxSize bounds a file, in bytes.
const DefaultMaxSize = 128 << 30

// Config is what the source needs.
type Config struct {
	Sessions *session.Manager
	Refs     *ref.Store
	// Root is a directory of the source's own, for records.
	Root string
	// MaxSize bounds a file, in bytes; 0 for DefaultMaxSize.
	MaxSize int64
	// Transport, optional, makes the requests.
	Transport http.RoundTripper
	// UserAgent is what we call ourselves unless the user wishes otherwise;
	// empty for DefaultUserAgent.
	UserAgent string
}

// DefaultUserAgent is what servers are told if nothing is configured.
const DefaultUserAgent = "kiln"

// Source answers to the schemes "http" and "https".
type Source struct {
	cfg     Config
	client  *http.Client
	records *records
	memo    *session.Memo[found]
	// pause before a request is repeated; stall is how long a body may be
	// silent.
	pause, stall time.Duration
}

var (
	_ source.Source   = (*Source)(nil)
	_ source.Resolver = (*Source)(nil)
)

// New returns a source.
func New(cfg Config) (*Source, error) {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = DefaultUserAgent
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	recs, err := openRecords(filepath.Join(cfg.Root, "urls"))
	if err != nil {
		return nil, err
	}
	return &Source{
		cfg: cfg, client: newClient(cfg.Transport), records: recs, memo: session.NewMemo[found](cfg.Sessions),
		pause: 250 * time.Millisecond, stall: time.Minute,
	}, nil
}

// Close closes connections that are kept for later.
func (s *Source) Close() { s.client.CloseIdleConnections() }

// Schemes returns "http" and "https".
func (s *Source) Schemes() []string { return []string{"http", "https"} }

// Open reads the URL and the attributes.
func (s *Source) Open(_ context.Context, id source.Identifier) (source.Instance, error) {
	sp, err := parseSpec(id)
	if err != nil {
		return nil, err
	}
	return &instance{source: s, spec: sp}, nil
}

// Resolve describes the file behind a URL. For a URL that is pinned to a digest
// nothing is asked, unless the bytes are needed for a checksum or a signature;
// for others the file is transferred unless it is known.
func (s *Source) Resolve(ctx context.Context, env solver.Env, id source.Identifier, opt source.ResolveOptions) (*source.Meta, error) {
	sp, err := parseSpec(id)
	if err != nil {
		return nil, err
	}
	if err := checkRequest(opt.Checksum); err != nil {
		return nil, err
	}
	in := &instance{source: s, spec: sp}
	f, err := in.identity(ctx, env)
	if err != nil {
		return nil, err
	}
	out := &source.HTTPMeta{Digest: f.Digest, Filename: f.Filename, LastModified: f.LastModified}
	if opt.Checksum != nil {
		if f, err = in.obtained(ctx, env); err != nil {
			return nil, err
		}
		if out.Checksum, err = s.checksum(ctx, f, opt.Checksum); err != nil {
			return nil, fmt.Errorf("checksum of %s: %w", sp.shown(), err)
		}
	}
	return &source.Meta{HTTP: out}, nil
}

// instance is one URL of one build.
type instance struct {
	source *Source
	spec   *spec
	// known is what identity found; nil before, and if nothing was asked.
	known *found
}

// Key names the bytes, their file and its attributes.
func (in *instance) Key(ctx context.Context, env solver.Env) (source.Key, error) {
	f, err := in.identity(ctx, env)
	if err != nil {
		return source.Key{}, err
	}
	return source.Key{Definition: in.spec.key(f.Filename, f.Digest, f.LastModified), Pin: f.Digest.String()}, nil
}

// identity finds out what the URL has. A pinned one is known already, with the
// name that it has if the server does not give another; but nothing is known
// of what has to be verified first.
func (in *instance) identity(ctx context.Context, env solver.Env) (found, error) {
	if in.known == nil && in.spec.checksum != "" && len(in.spec.signature) == 0 {
		return found{Digest: in.spec.checksum, Filename: filename(in.spec.file.Filename, "", in.spec.target)}, nil
	}
	return in.obtained(ctx, env)
}

// obtained returns the file itself, verified.
func (in *instance) obtained(ctx context.Context, env solver.Env) (found, error) {
	if in.known != nil {
		return *in.known, nil
	}
	f, err := in.ask(ctx, env)
	if err != nil {
		return found{}, err
	}
	if err := in.source.verify(ctx, in.spec, f); err != nil {
		return found{}, err
	}
	in.known = &f
	return f, nil
}

// ask finds out what the URL has, once in a session.
func (in *instance) ask(ctx context.Context, env solver.Env) (found, error) {
	return in.source.memo.Do(ctx, env.Sessions(), in.question(), func(ctx context.Context) (found, error) {
		return in.source.obtain(ctx, env, in.spec)
	})
}

// question is spec.question, and the digest that the answer must have.
func (in *instance) question() string { return in.spec.question() + " " + in.spec.checksum.String() }

// Fetch returns the layer with the file.
func (in *instance) Fetch(ctx context.Context, env solver.Env) (*ref.Ref, error) {
	if in.known == nil && len(in.spec.signature) > 0 {
		if _, err := in.obtained(ctx, env); err != nil {
			return nil, err
		}
	}
	if in.known != nil {
		if r, err := in.source.cfg.Refs.Get(ctx, in.known.ID); err == nil || !errdefs.IsNotFound(err) {
			return r, err
		}
		// Pruned between Key and now.
		in.source.memo.Forget(env.Sessions(), in.question())
	} else if r := in.source.pinned(ctx, in.spec); r != nil {
		return r, nil
	}
	for range attempts {
		f, err := in.ask(ctx, env)
		if err != nil {
			return nil, err
		}
		if in.known != nil && f.Digest != in.known.Digest {
			return nil, mismatch(f.Digest, in.known.Digest)
		}
		r, err := in.source.cfg.Refs.Get(ctx, f.ID)
		if err == nil || !errdefs.IsNotFound(err) {
			return r, err
		}
		in.source.memo.Forget(env.Sessions(), in.question())
	}
	return nil, fmt.Errorf("file of %s is pruned as soon as it is there: %w", in.spec.shown(), errdefs.ErrUnavailable)
}

// pinned returns the layer of a pinned URL if it is there, else nil.
func (s *Source) pinned(ctx context.Context, sp *spec) *ref.Ref {
	rec, ok := s.records.get(sp.question())
	if !ok || sp.checksum == "" {
		return nil
	}
	r, err := s.cfg.Refs.Get(ctx, rec.ID)
	if err != nil {
		return nil
	}
	if s.pin(ctx, sp, rec.found) != nil {
		_ = r.Release(context.WithoutCancel(ctx))
		return nil
	}
	return r
}

// mismatch is the error of a file that is not what it must be; clients match
// its form, and what is around it names the URL.
func mismatch(got, want digest.Digest) error {
	return fmt.Errorf("digest mismatch %s: %s: %w", got, want, errdefs.ErrFailedPrecondition)
}
