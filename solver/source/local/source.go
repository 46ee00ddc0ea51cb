package local

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
	"github.com/kilnbuild/kiln/solver/source"
)

// Names of attributes on the wire.
const (
	attrSession   = "local.session"
	attrUnique    = "local.unique"
	attrInclude   = "local.includepattern"
	attrExclude   = "local.excludepatterns"
	attrFollow    = "local.followpaths"
	attrSharedKey = "local.sharedkeyhint"
	attrDiffer    = "local.differ"
	attrMetadata  = "local.metadatatransfer"
	attrFull      = "local.metadatatransferexclude"
)

// maxDepth is how many layers of differences pile up before a fresh transfer.
const maxDepth = 24

// Config is what the source needs.
type Config struct {
	Sessions *session.Manager
	Refs     *ref.Store
	// Root is a directory of the source's own, for listings.
	Root string
}

// Source answers to the scheme "local".
type Source struct {
	cfg   Config
	store *listings

	mu    sync.Mutex
	locks map[string]*keyLock
}

// New returns a source.
func New(cfg Config) (*Source, error) {
	store, err := openListings(cfg.Root)
	if err != nil {
		return nil, err
	}
	return &Source{cfg: cfg, store: store, locks: map[string]*keyLock{}}, nil
}

// Schemes returns "local".
func (s *Source) Schemes() []string { return []string{"local"} }

// Open reads the attributes.
func (s *Source) Open(_ context.Context, id source.Identifier) (source.Instance, error) {
	in := &instance{source: s, name: id.Ref, session: id.Attrs[attrSession], hint: id.Attrs[attrSharedKey]}
	if in.name == "" {
		return nil, fmt.Errorf("source local:// needs the name of a directory: %w", errdefs.ErrInvalidArgument)
	}
	lists := map[string]*[]string{
		attrInclude: &in.patterns.Include, attrExclude: &in.patterns.Exclude, attrFollow: &in.patterns.Follow, attrFull: &in.full,
	}
	for name, list := range lists {
		if err := parseList(id.Attrs, name, list); err != nil {
			return nil, err
		}
	}
	switch d := id.Attrs[attrDiffer]; d {
	case "", "metadata":
	case "none":
		in.always = true
	default:
		return nil, fmt.Errorf("attribute %s of local://%s is %q, want \"none\" or \"metadata\": %w",
			attrDiffer, id.Ref, d, errdefs.ErrInvalidArgument)
	}
	if v := id.Attrs[attrMetadata]; v != "" {
		var err error
		if in.metadata, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("attribute %s of local://%s is %q, want true or false: %w", attrMetadata, id.Ref, v, errdefs.ErrInvalidArgument)
		}
	}
	if prefix, session, ok := strings.Cut(in.session, ":"); ok {
		in.dir, in.session = prefix+"-"+in.name, session
	} else {
		in.dir = in.name
	}
	return in, nil
}

func parseList(attrs map[string]string, name string, list *[]string) error {
	v := attrs[name]
	if v == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(v), list); err != nil {
		return fmt.Errorf("attribute %s is not a JSON array of strings: %w", name, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	return nil
}

// instance is one directory of one client.
type instance struct {
	source   *Source
	name     string // as in LLB
	dir      string // as asked of the client
	session  string // fixed session, or empty
	hint     string
	patterns files.Patterns
	always   bool // transfer whatever was there before
	// metadata transfers only the list of files, and those that match full.
	metadata bool
	full     []string
}

// Key names the directory of this session; it is volatile.
func (in *instance) Key(_ context.Context, env solver.Env) (source.Key, error) {
	client := in.session
	if ids := env.Sessions(); client == "" && len(ids) > 0 {
		client = ids[0]
	}
	if client == "" {
		return source.Key{}, fmt.Errorf("local directory %q: %w", in.name, session.ErrNone)
	}
	def, err := json.Marshal(append([]any{in.dir, client, in.patterns, in.hint}, in.extra()...))
	if err != nil {
		return source.Key{}, err
	}
	return source.Key{Definition: "session:" + in.name + ":" + digest.FromBytes(def).String(), Volatile: true}, nil
}

// extra is what keys have beside the patterns if not everything is transferred.
func (in *instance) extra() []any {
	if !in.metadata {
		return nil
	}
	return []any{"metadata", in.full}
}

// Fetch transfers what differs from the last transfer.
func (in *instance) Fetch(ctx context.Context, env solver.Env) (*ref.Ref, error) {
	ids := env.Sessions()
	if in.session != "" {
		// The others are asked if that one is gone or does not have the
		// directory: vertices of several builds may be one.
		ids = append([]string{in.session}, ids...)
	}
	var out *ref.Ref
	err := in.source.cfg.Sessions.Any(ctx, ids, func(ctx context.Context, s *session.Session) error {
		var err error
		out, err = in.transfer(ctx, env, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load local directory %q: %w", in.name, err)
	}
	return out, nil
}

// reuseKey tells which earlier transfer this one may build on.
func (in *instance) reuseKey(s *session.Session) string {
	p, _ := json.Marshal(in.patterns)
	if in.metadata {
		p, _ = json.Marshal(append([]any{in.patterns}, in.extra()...))
	}
	return strings.Join([]string{in.dir, in.hint, s.SharedKey(), digest.FromBytes(p).String()}, ":")
}

// transfer runs one transfer under the lock of its reuse key.
func (in *instance) transfer(ctx context.Context, env solver.Env, s *session.Session) (*ref.Ref, error) {
	key := in.reuseKey(s)
	if in.always {
		// Nothing to build on and nothing to keep.
		key = "once:" + rand.Text()
	}
	unlock, err := in.source.lock(ctx, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t := &transfer{in: in}
	defer t.cleanup(context.WithoutCancel(ctx))
	if !in.always {
		t.load(ctx, key)
	}
	counter := progress.Reporter{To: env}.Counter("transferring "+in.name+":", "transferring", 0)
	defer counter.Done()
	m := &files.Mirror{
		Previous: t.listing, Trust: true, Progress: func(n int) { counter.Add(int64(n)) },
		Open: func() (*files.Writer, error) { return t.open(ctx) },
	}
	defer m.Close()
	req := files.Request{Dir: in.dir, Patterns: in.patterns}
	var handler finisher = m
	if in.metadata {
		if handler, err = files.NewMetadata(m, in.full); err != nil {
			return nil, err
		}
	}
	if err := files.Pull(ctx, s, req, handler); err != nil {
		return nil, err
	}
	listing, changed, err := handler.Finish()
	if err != nil {
		return nil, err
	}
	return t.commit(ctx, key, listing, changed)
}

// finisher is what transfers end in: a files.Mirror, or files.Metadata on it.
type finisher interface {
	files.Handler
	Finish() (files.Listing, bool, error)
}

// transfer is the state of one transfer.
type transfer struct {
	in       *instance
	previous *ref.Ref
	listing  files.Listing
	active   *ref.Active
	writer   *files.Writer
	unmount  func() error
}

// load finds the last transfer; any fault means that there is none.
func (t *transfer) load(ctx context.Context, key string) {
	id, listing, ok := t.in.source.store.get(key)
	if !ok {
		return
	}
	prev, err := t.in.source.cfg.Refs.Get(ctx, id)
	if err != nil {
		return
	}
	if len(prev.Chain()) > maxDepth {
		_ = prev.Release(ctx)
		return
	}
	t.previous, t.listing = prev, listing
}

// open makes the layer that takes the differences.
func (t *transfer) open(ctx context.Context) (*files.Writer, error) {
	var err error
	t.active, err = t.in.source.cfg.Refs.Prepare(ctx, t.previous,
		ref.WithRecordType(ref.TypeLocal), ref.WithDescription("local source for "+t.in.name))
	if err != nil {
		return nil, err
	}
	var dir string
	if dir, t.unmount, err = t.active.Dir(ctx); err != nil {
		return nil, err
	}
	t.writer, err = files.NewWriter(dir, true)
	return t.writer, err
}

// commit turns the layer into a ref and remembers it. Nothing changed means
// that the last ref is the result.
func (t *transfer) commit(ctx context.Context, key string, listing files.Listing, changed bool) (*ref.Ref, error) {
	if !changed && t.previous != nil {
		return t.previous.Hold(), nil
	}
	if t.active == nil {
		// An empty directory is a file system all the same: what is missing in
		// it is missing in the client's directory.
		if _, err := t.open(ctx); err != nil {
			return nil, err
		}
	}
	if err := t.closeWriter(); err != nil {
		return nil, err
	}
	out, err := t.active.Commit(ctx)
	if err != nil {
		return nil, err
	}
	if !t.in.always {
		if err := t.in.source.cfg.Refs.Keep(ctx, out); err != nil {
			return nil, errors.Join(err, out.Release(ctx))
		}
		if err := t.in.source.store.put(key, out.ID(), listing); err != nil {
			return nil, errors.Join(err, out.Release(ctx))
		}
	}
	return out, nil
}

func (t *transfer) closeWriter() error {
	var errs []error
	if t.writer != nil {
		errs = append(errs, t.writer.Close())
		t.writer = nil
	}
	if t.unmount != nil {
		errs = append(errs, t.unmount())
		t.unmount = nil
	}
	return errors.Join(errs...)
}

// cleanup undoes what an unfinished transfer holds.
func (t *transfer) cleanup(ctx context.Context) {
	_ = t.closeWriter()
	if t.active != nil {
		_ = t.active.Discard(ctx)
	}
	if t.previous != nil {
		_ = t.previous.Release(ctx)
	}
}

// keyLock serialises the transfers of one reuse key.
type keyLock struct {
	held chan struct{}
	n    int
}

func (s *Source) lock(ctx context.Context, key string) (func(), error) {
	s.mu.Lock()
	l := s.locks[key]
	if l == nil {
		l = &keyLock{held: make(chan struct{}, 1)}
		s.locks[key] = l
	}
	l.n++
	s.mu.Unlock()
	drop := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.n--; l.n == 0 {
			delete(s.locks, key)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, context.Cause(ctx)
	}
}
