package image

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxManifest and maxConfig bound documents, in bytes.
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
)

// document is a decoded index or manifest; one field is set.
type document struct {
	index    *ocispecs.Index
	manifest *ocispecs.Manifest
}

// decodeDocument reads an index or a manifest. What it is follows from its
// fields: one that could be read as both is refused, since others may read it
// the other way.
func decodeDocument(b []byte) (document, error) {
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return document{}, fmt.Errorf("manifest is not JSON: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if probe.SchemaVersion == 1 || probe.FSLayers != nil || probe.MediaType == images.MediaTypeDockerSchema1Manifest {
		return document{}, errSchema1
	}
	isIndex, isManifest := probe.Manifests != nil, probe.Config != nil || probe.Layers != nil
	if isIndex == isManifest {
		return document{}, fmt.Errorf("document must be either an index (manifests) or a manifest (config, layers): %w", errdefs.ErrInvalidArgument)
	}
	if t := probe.MediaType; (isIndex && images.IsManifestType(t)) || (isManifest && images.IsIndexType(t)) {
		return document{}, fmt.Errorf("document says it is %q and has other fields: %w", t, errdefs.ErrInvalidArgument)
	}
	var d document
	var target any
	if isIndex {
		d.index = &ocispecs.Index{}
		target = d.index
	} else {
		d.manifest = &ocispecs.Manifest{}
		target = d.manifest
	}
	if err := json.Unmarshal(b, target); err != nil {
		return document{}, fmt.Errorf("decode manifest: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return d, nil
}

// errSchema1 refuses images from before 2016.
var errSchema1 = fmt.Errorf("manifest is of Docker's schema 1, which is not supported any more; push the image again with a current client: %w",
	errdefs.ErrNotImplemented)

// mediaType is what a document is, whatever it was announced as.
func (d document) mediaType() string {
	if d.index != nil {
		if images.IsIndexType(d.index.MediaType) {
			return d.index.MediaType
		}
		return ocispecs.MediaTypeImageIndex
	}
	if images.IsManifestType(d.manifest.MediaType) {
		return d.manifest.MediaType
	}
	return ocispecs.MediaTypeImageManifest
}

// checkBlob refuses descriptors that no blob can match. limit is zero for
// blobs that are not read into memory.
func checkBlob(desc ocispecs.Descriptor, limit int64) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	if desc.Size <= 0 {
		return fmt.Errorf("blob %s has a size of %d bytes: %w", desc.Digest, desc.Size, errdefs.ErrInvalidArgument)
	}
	if limit > 0 && desc.Size > limit {
		return fmt.Errorf("blob %s has %d bytes, more than the limit of %d: %w", desc.Digest, desc.Size, limit, errdefs.ErrInvalidArgument)
	}
	return nil
}

// checkManifest refuses manifests of something else than images.
func checkManifest(m *ocispecs.Manifest) error {
	if err := checkBlob(m.Config, maxConfig); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if t := m.Config.MediaType; !images.IsConfigType(t) && t != docker.LegacyConfigMediaType {
		return fmt.Errorf("not an image: its configuration is of type %q: %w", t, errdefs.ErrInvalidArgument)
	}
	for i, l := range m.Layers {
		if err := checkBlob(l, 0); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		if !images.IsLayerType(l.MediaType) {
			return fmt.Errorf("layer %d is of type %q, which is no file system layer: %w", i, l.MediaType, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// decodeConfig reads a configuration and checks its layers against a manifest.
func decodeConfig(b []byte, m *ocispecs.Manifest) (*ocispecs.Image, error) {
	var c ocispecs.Image
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("decode image configuration %s: %w: %w", m.Config.Digest, err, errdefs.ErrInvalidArgument)
	}
	if n := len(c.RootFS.DiffIDs); n != len(m.Layers) {
		return nil, fmt.Errorf("image configuration %s describes %d layers, the manifest has %d: %w",
			m.Config.Digest, n, len(m.Layers), errdefs.ErrInvalidArgument)
	}
	if t := c.RootFS.Type; t != "layers" && len(m.Layers) > 0 {
		return nil, fmt.Errorf("image configuration %s has a root file system of type %q, want \"layers\": %w", m.Config.Digest, t, errdefs.ErrInvalidArgument)
	}
	for i, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("image configuration %s: layer %d: digest %q: %w: %w", m.Config.Digest, i, d, err, errdefs.ErrInvalidArgument)
		}
	}
	return &c, nil
}

// candidates are the entries of an index that may be for a platform: matching
// ones first, best first, then those that do not say.
func candidates(index *ocispecs.Index, want platforms.MatchComparer) []ocispecs.Descriptor {
	var named, silent []ocispecs.Descriptor
	for _, d := range index.Manifests {
		switch {
		case !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType):
		case d.Platform == nil:
			silent = append(silent, d)
		case want.Match(*d.Platform):
			named = append(named, d)
		}
	}
	slices.SortStableFunc(named, func(a, b ocispecs.Descriptor) int {
		switch {
		case want.Less(*a.Platform, *b.Platform):
			return -1
		case want.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	return append(named, silent...)
}

// noMatch says what an index has instead of what was wanted.
func noMatch(root digest.Digest, index *ocispecs.Index, want ocispecs.Platform) error {
	var have []string
	for _, d := range index.Manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" && len(have) < 32 {
			have = append(have, platforms.FormatAll(*d.Platform))
		}
	}
	if len(have) == 0 {
		have = []string{"none that is named"}
	}
	return fmt.Errorf("no match for platform in manifest %s: want %s, have %s: %w",
		root, platforms.FormatAll(want), strings.Join(have, ", "), errdefs.ErrNotFound)
}
