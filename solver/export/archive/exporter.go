package archive

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/session"
)

// Format of an archive; the value is the exporter's name on the wire.
type Format string

// Formats.
const (
	OCI    Format = "oci"
	Docker Format = "docker"
)

// Config is what an Exporter is made of. Fields not called optional are
// required.
type Config struct {
	// Format of the archives.
	Format Format
	// Namespace is the containerd namespace images are made in.
	Namespace string
	// Content and Leases belong to the same metadata layer.
	Content content.Store
	Leases  leases.Manager
	// Sessions has the clients.
	Sessions *session.Manager
	// Creator, optional, is told by bills of materials in the words of SPDX,
	// for example "Tool: kiln-1.0".
	Creator string
	// Now, optional, is the clock.
	Now func() time.Time
}

// Exporter makes archives. Use New.
type Exporter struct {
	cfg Config
}

var _ export.Exporter = (*Exporter)(nil)

// New returns an Exporter of one format.
func New(cfg Config) *Exporter {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Exporter{cfg: cfg}
}

// Resolve implements export.Exporter.
func (e *Exporter) Resolve(_ context.Context, attrs map[string]string) (export.Instance, error) {
	opts, rest, err := manifest.ParseOptions(attrs, false)
	opts.Exporter = string(e.cfg.Format)
	if err != nil {
		return nil, err
	}
	in := &instance{cfg: &e.cfg, opts: opts, tar: true, metadata: rest}
	if v, ok := rest["tar"]; ok {
		if in.tar, err = export.Bool("tar", v); err != nil {
			return nil, err
		}
		delete(rest, "tar")
	}
	return in, nil
}

// instance is one archive export.
type instance struct {
	cfg  *Config
	opts manifest.Options
	// tar asks for a tar instead of blobs.
	tar bool
	// metadata replaces that of the result.
	metadata map[string]string
}

// Name implements export.Instance.
func (in *instance) Name() string {
	return fmt.Sprintf("exporting to %s image format", in.cfg.Format)
}

// Export implements export.Instance.
func (in *instance) Export(ctx context.Context, src *export.Source, t export.Target) (_ *export.Response, err error) {
	if in.cfg.Format == Docker && src.Multi() {
		return nil, fmt.Errorf("docker exporter does not currently support exporting manifest lists: %w", errdefs.ErrInvalidArgument)
	}
	src = src.With(in.metadata)
	opts, err := in.opts.Finish(src)
	if err != nil {
		return nil, err
	}
	names, err := parseNames(opts.Names)
	if err != nil {
		return nil, err
	}
	ctx, release, err := manifest.Hold(ctx, in.cfg.Leases, in.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	asm := manifest.Assembler{Content: in.cfg.Content, Creator: in.cfg.Creator}
	im, err := asm.Assemble(ctx, src, opts, t.Env)
	if err != nil {
		return nil, err
	}
	if err := in.date(im, src, opts); err != nil {
		return nil, err
	}
	values, err := im.Values()
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		values[export.ValueName] = strings.Join(names, ",")
	}
	out := &output{cfg: in.cfg, image: im, names: names, values: values, target: t}
	send := out.blobs
	if in.tar {
		send = out.tar
	}
	if err := send(ctx); err != nil {
		return nil, err
	}
	return &export.Response{Values: values, Descriptor: &im.Descriptor, Release: func(context.Context) { release() }}, nil
}

// date adds the time of making to the root's descriptor: an index of archives
// tells when each was made.
func (in *instance) date(im *manifest.Image, src *export.Source, opts manifest.Options) error {
	epoch, err := opts.Epoch.For(src, "")
	if err != nil {
		return err
	}
	at := in.cfg.Now()
	if epoch != nil {
		at = *epoch
	}
	annotations := map[string]string{ocispecs.AnnotationCreated: at.UTC().Format(time.RFC3339)}
	for k, v := range im.Descriptor.Annotations {
		annotations[k] = v
	}
	im.Descriptor.Annotations = annotations
	return nil
}

// parseNames completes the names in a list: archives are loaded by programs
// that do not guess at hosts and tags.
func parseNames(list string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		parsed, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, fmt.Errorf("failed to parse %s: %w: %w", name, err, errdefs.ErrInvalidArgument)
		}
		names = append(names, reference.TagNameOnly(parsed).String())
	}
	return names, nil
}
