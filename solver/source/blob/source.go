package blob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/layout"
	"github.com/kilnbuild/kiln/solver/source/singlefile"
)

// DefaultMaxSize bounds a blob, in bytes.
const DefaultMaxSize = 128 << 30

// Config is what the source needs.
type Config struct {
	Registries *registry.Client
	Sessions   *session.Manager
	Refs       *ref.Store
	// MaxSize bounds a blob, in bytes; 0 for DefaultMaxSize.
	MaxSize int64
}

// Source answers to the schemes "docker-image+blob" and "oci-layout+blob".
type Source struct{ cfg Config }

var _ source.Source = (*Source)(nil)

// New returns a source.
func New(cfg Config) *Source {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	return &Source{cfg}
}

// Schemes returns the two schemes.
func (s *Source) Schemes() []string { return []string{schemeImage, schemeLayout} }

// recordTypes by attribute.
var recordTypes = map[string]string{
	"": ref.TypeRegular, "regular": ref.TypeRegular, "internal": ref.TypeInternal, "frontend": ref.TypeFrontend,
}

// Open reads the locator and the attributes.
func (s *Source) Open(_ context.Context, id source.Identifier) (source.Instance, error) {
	l, err := parse(id)
	if err != nil {
		return nil, err
	}
	if l.repository == "" && l.store == "" {
		return nil, fmt.Errorf("oci-layout blob source requires store id: set attribute %s: %w", attrStore, errdefs.ErrInvalidArgument)
	}
	in := &instance{source: s, locator: l}
	var ok bool
	if in.recordType, ok = recordTypes[id.Attrs[attrRecordType]]; !ok {
		return nil, fmt.Errorf("invalid record type %q: attribute %s is one of regular, internal, frontend: %w",
			id.Attrs[attrRecordType], attrRecordType, errdefs.ErrInvalidArgument)
	}
	if in.file, err = singlefile.ParseAttributes(id.Attrs); err != nil {
		return nil, err
	}
	return in, nil
}

// Bytes opens the blob of a locator, not verified; size is -1 if it is not
// known. The caller closes the reader.
func (s *Source) Bytes(ctx context.Context, env solver.Env, l Locator) (rc io.ReadCloser, size int64, err error) {
	if l.repository == "" {
		ids := env.Sessions()
		if l.session != "" {
			ids = []string{l.session}
		}
		return layout.OpenBlob(ctx, s.cfg.Sessions, ids, l.store, l.digest)
	}
	repo, err := s.cfg.Registries.Repository(l.repository, registry.Options{Sessions: env.Sessions})
	if err != nil {
		return nil, 0, err
	}
	return repo.Blob(ctx, l.digest)
}

// Copy writes the blob of a locator, and fails if it is not what its digest
// says: what was written by then is of no use.
func (s *Source) Copy(ctx context.Context, env solver.Env, to io.Writer, l Locator) (err error) {
	rc, _, err := s.Bytes(ctx, env, l)
	if err != nil {
		return fmt.Errorf("open blob %s: %w", l.name, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	v := l.digest.Verifier()
	n, err := io.Copy(io.MultiWriter(to, v), io.LimitReader(rc, s.cfg.MaxSize+1))
	switch {
	case err != nil:
		return fmt.Errorf("read blob %s: %w", l.name, err)
	case n > s.cfg.MaxSize:
		return fmt.Errorf("blob %s has more than %d bytes: %w", l.name, s.cfg.MaxSize, errdefs.ErrResourceExhausted)
	case !v.Verified():
		return mismatch(l)
	}
	return nil
}

// mismatch is the error of bytes that are not what their digest says.
func mismatch(l Locator) error {
	return fmt.Errorf("blob %s: content is not what its digest says: %w", l.name, errdefs.ErrFailedPrecondition)
}

// instance is one blob of one build.
type instance struct {
	source     *Source
	locator    Locator
	file       singlefile.Attributes
	recordType string
}

// Key follows from the locator; its form is a wire format fact.
func (in *instance) Key(context.Context, solver.Env) (source.Key, error) {
	b, err := json.Marshal(struct {
		Digest         digest.Digest
		Filename       string
		Perm, UID, GID int
	}{in.locator.digest, in.name(false), in.file.Perm, in.file.UID, in.file.GID})
	if err != nil {
		return source.Key{}, fmt.Errorf("key of blob %s: %w", in.locator.name, err)
	}
	return source.Key{Definition: digest.FromBytes(b).String(), Pin: in.locator.digest.String()}, nil
}

// name of the file: as wished, else the digest's if fallback.
func (in *instance) name(fallback bool) string {
	if in.file.Filename != "" {
		return singlefile.SafeName(in.file.Filename)
	}
	if fallback {
		return in.locator.digest.Encoded()
	}
	return ""
}

// Fetch writes the blob into a layer.
func (in *instance) Fetch(ctx context.Context, env solver.Env) (_ *ref.Ref, err error) {
	rc, size, err := in.source.Bytes(ctx, env, in.locator)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", in.locator.name, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	counter := progress.Reporter{To: env}.Counter(in.locator.digest.String(), "downloading", max(size, 0))
	defer counter.Done()
	f := singlefile.File{
		Attributes: in.file, Name: in.name(true), ModTime: time.Unix(0, 0), MaxSize: in.source.cfg.MaxSize,
		Algorithm: in.locator.digest.Algorithm(),
		Check: func(got digest.Digest) error {
			if got != in.locator.digest {
				return mismatch(in.locator)
			}
			return nil
		},
	}
	r, _, err := singlefile.Write(ctx, in.source.cfg.Refs, f, io.TeeReader(rc, counter),
		ref.WithRecordType(in.recordType), ref.WithDescription("blob "+in.locator.name))
	if err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w", in.locator.name, err)
	}
	return r, nil
}
