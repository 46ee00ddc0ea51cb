package files

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/session"
)

// Config is what an Exporter is made of.
type Config struct {
	// Sessions has the clients. Required.
	Sessions *session.Manager
	// Tar makes the Exporter send one tar stream instead of files.
	Tar bool
}

// Exporter sends files. Use New.
type Exporter struct {
	cfg Config
}

var _ export.Exporter = (*Exporter)(nil)

// New returns an Exporter for the type "local", or "tar" if cfg says so.
func New(cfg Config) *Exporter { return &Exporter{cfg: cfg} }

// Resolve implements export.Exporter.
func (e *Exporter) Resolve(_ context.Context, attrs map[string]string) (export.Instance, error) {
	in := &instance{cfg: e.cfg, metadata: map[string]string{}}
	for k, v := range attrs {
		if err := in.set(k, v); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// instance is one export of files.
type instance struct {
	cfg   Config
	epoch export.Epoch
	// split is nil if the result decides.
	split *bool
	// remove makes the client's directory equal to the result.
	remove bool
	// prefix begins the names of files with statements.
	prefix string
	// metadata replaces that of the result.
	metadata map[string]string
}

// set stores one attribute; those it does not know become metadata.
func (in *instance) set(k, v string) (err error) {
	switch k {
	case export.AttrEpoch:
		in.epoch, err = export.ParseEpoch(v)
	case "platform-split":
		var split bool
		split, err = export.Bool(k, v)
		in.split = &split
	case "mode":
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "", "copy":
		case "delete":
			in.remove = true
		default:
			return fmt.Errorf("invalid local exporter mode %q: want copy or delete: %w", v, errdefs.ErrInvalidArgument)
		}
	case "attestation-prefix":
		in.prefix = v
	default:
		in.metadata[k] = v
	}
	return err
}

// Name implements export.Instance.
func (in *instance) Name() string {
	if in.cfg.Tar {
		return "exporting to client tarball"
	}
	return "exporting to client directory"
}

// Export implements export.Instance. The response has no values.
func (in *instance) Export(ctx context.Context, src *export.Source, t export.Target) (_ *export.Response, err error) {
	src = src.With(in.metadata)
	o, err := in.open(ctx, src)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := o.close(); err == nil {
			err = cerr
		}
	}()
	if !in.splits(src) && len(o.trees) > 1 {
		if err := checkOverlap(ctx, o.trees); err != nil {
			return nil, err
		}
	}
	client, err := in.client(ctx, t)
	if err != nil {
		return nil, err
	}
	s := &sender{client: client, target: t, split: in.splits(src)}
	switch {
	case in.cfg.Tar:
		err = s.tar(ctx, o.trees)
	case in.remove:
		err = s.together(ctx, o.trees)
	default:
		err = s.each(ctx, o.trees)
	}
	if err != nil {
		return nil, err
	}
	return &export.Response{}, nil
}

// splits tells whether platforms get directories of their own.
func (in *instance) splits(src *export.Source) bool {
	if in.split != nil {
		return *in.split
	}
	return src.Multi()
}

// client returns the first session that is open.
func (in *instance) client(ctx context.Context, t export.Target) (*session.Session, error) {
	var client *session.Session
	err := in.cfg.Sessions.Any(ctx, t.Env.Sessions(), func(_ context.Context, s *session.Session) error {
		client = s
		return nil
	})
	return client, err
}
