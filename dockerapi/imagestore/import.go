package imagestore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ/compress"
)

// ImportOptions say what image is made of a tar.
type ImportOptions struct {
	// Name, optional.
	Name reference.Named
	// Message is the comment of the image's history.
	Message string
	// Changes are Dockerfile instructions for the configuration.
	Changes []string
	// Platform; nil for the machine's.
	Platform *ocispecs.Platform
}

// Import makes an image of a tar of its files, compressed or not, and returns
// its id. A tar that cannot be unpacked, and changes that cannot be applied,
// are errdefs InvalidArgument and leave nothing behind.
func (s *Store) Import(ctx context.Context, r io.Reader, opt ImportOptions) (_ digest.Digest, err error) {
	config, err := configured(opt.Changes)
	if err != nil {
		return "", err
	}
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return "", err
	}
	store := &ingester{Store: s.cfg.Content}
	defer func() {
		// What is left unfinished nobody continues.
		if ferr := store.forget(context.WithoutCancel(ctx)); err == nil {
			err = ferr
		}
		release(err != nil)
	}()
	layer, diffID, err := s.importLayer(ctx, store, r)
	if err != nil {
		return "", err
	}
	target, err := s.importManifest(ctx, store, opt, config, layer, diffID)
	if err != nil {
		return "", err
	}
	v, err := s.variant(ctx, target)
	if err != nil {
		return "", err
	}
	if err := s.unpack(ctx, &v); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	name := DanglingName(target.Digest)
	if opt.Name != nil {
		name = reference.TagNameOnly(opt.Name).String()
	}
	if err := s.put(ctx, name, target, nil); err != nil {
		return "", err
	}
	if err := s.sync(ctx); err != nil {
		return "", err
	}
	s.announce(ctx, "import", target.Digest.String(), target.Digest.String())
	return target.Digest, nil
}

// importLayer stores a tar as a gzip layer. What was compressed otherwise is
// compressed anew, so that everybody can read it.
func (s *Store) importLayer(ctx context.Context, store *ingester, r io.Reader) (ocispecs.Descriptor, digest.Digest, error) {
	in := &inCounter{r: r}
	decoded, err := compress.NewReader(in, compress.Limits{})
	if err != nil {
		return ocispecs.Descriptor{}, "", fmt.Errorf("read archive: %w", err)
	}
	defer decoded.Close()
	w, err := content.OpenWriter(ctx, store, content.WithRef("layer"))
	if err != nil {
		return ocispecs.Descriptor{}, "", fmt.Errorf("store layer: %w", err)
	}
	defer w.Close()
	z, err := compress.NewWriter(w, compress.Gzip, compress.Options{})
	if err != nil {
		return ocispecs.Descriptor{}, "", fmt.Errorf("compress layer: %w", err)
	}
	diff := digest.Canonical.Digester()
	_, err = io.Copy(z, io.TeeReader(&ratio{in: &in.n, from: s.cfg.Plain, decoded: decoded}, diff.Hash()))
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return ocispecs.Descriptor{}, "", fmt.Errorf("read archive: %w", err)
	}
	st, err := w.Status()
	if err != nil {
		return ocispecs.Descriptor{}, "", fmt.Errorf("store layer: %w", err)
	}
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: w.Digest(), Size: st.Offset}
	uncompressed := content.WithLabels(map[string]string{labels.LabelUncompressed: diff.Digest().String()})
	if err := w.Commit(ctx, desc.Size, desc.Digest, uncompressed); err != nil && !errdefs.IsAlreadyExists(err) {
		return desc, "", fmt.Errorf("store layer: %w", err)
	}
	return desc, diff.Digest(), nil
}

// importManifest stores configuration and manifest.
func (s *Store) importManifest(
	ctx context.Context, store *ingester, opt ImportOptions, config *dockerspec.DockerOCIImageConfig, layer ocispecs.Descriptor, diffID digest.Digest,
) (ocispecs.Descriptor, error) {
	platform := s.cfg.Platform
	if opt.Platform != nil {
		platform = *opt.Platform
	}
	now := time.Now().UTC()
	var im dockerspec.DockerOCIImage
	im.Platform, im.Created, im.Config = platform, &now, *config
	im.RootFS = ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	im.History = []ocispecs.History{{Created: &now, Comment: opt.Message}}
	configDesc, err := s.storeJSON(ctx, store, ocispecs.MediaTypeImageConfig, im)
	if err != nil {
		return configDesc, err
	}
	m := ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: configDesc, Layers: []ocispecs.Descriptor{layer},
	}
	desc, err := s.storeJSON(ctx, store, m.MediaType, m)
	if err != nil {
		return desc, err
	}
	return desc, s.tie(ctx, desc, []ocispecs.Descriptor{configDesc, layer})
}

// storeJSON stores a value as a blob.
func (s *Store) storeJSON(ctx context.Context, store *ingester, mediaType string, v any) (ocispecs.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("render %s: %w", mediaType, err)
	}
	desc := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(ctx, store, "json-"+desc.Digest.String(), bytes.NewReader(data), desc); err != nil {
		return desc, fmt.Errorf("store %s: %w", mediaType, err)
	}
	return desc, nil
}

// errStatus is the answer of a server that has not got what is imported.
var errStatus = errors.New("server does not have it")

// Open asks for what is imported from a URL; one without a scheme is http. The
// size is -1 if the server does not say. The caller closes the body.
func (s *Store) Open(ctx context.Context, source string) (io.ReadCloser, *url.URL, int64, error) {
	if !strings.Contains(source, "://") {
		source = "http://" + source
	}
	u, err := url.Parse(source)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, 0, kind(errdefs.ErrInvalidArgument, "invalid URL to import from: want http or https")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, 0, invalid("import from %s: %w", u.Redacted(), err)
	}
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("import from %s: %w", u.Redacted(), err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		resp.Body.Close()
		return nil, nil, 0, invalid("failed to GET %s with status %s: %w", u.Redacted(), resp.Status, errStatus)
	}
	return resp.Body, u, resp.ContentLength, nil
}
