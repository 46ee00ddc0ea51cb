package export

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/ref"
)

// Names of result metadata that exporters read. With several platforms the
// name may be followed by "/" and a platform id.
const (
	// MetaImageConfig is the image configuration (JSON).
	MetaImageConfig = "containerimage.config"
	// MetaBaseConfig is the configuration of the image that was built upon.
	MetaBaseConfig = "containerimage.base.config"
	// MetaImageName replaces the image name "*".
	MetaImageName = "image.name"
	// MetaEpoch is SOURCE_DATE_EPOCH in seconds.
	MetaEpoch = "source.date.epoch"
)

// Names of Response.Values with a meaning for clients.
const (
	// ValueName has the names of the image, separated by commas.
	ValueName = "image.name"
	// ValueDigest is the digest of the manifest or index.
	ValueDigest = "containerimage.digest"
	// ValueConfigDigest is the digest of the configuration; for a single
	// platform only.
	ValueConfigDigest = "containerimage.config.digest"
	// ValueDescriptor is the JSON of the descriptor, in standard base64.
	ValueDescriptor = "containerimage.descriptor"
)

// Result is the part of a Source that belongs to one platform.
type Result struct {
	Platform
	// Ref is nil for an empty file system.
	Ref *ref.Ref
	// Attestations about this part.
	Attestations []Attestation
}

// Multi tells whether the source has several platforms, or a single one that
// was asked for as one of several.
func (s *Source) Multi() bool { return len(s.Refs) > 0 }

// Results returns the parts of the source in order, at least one. A single
// result without a platform has that of its image configuration, or else of
// this machine.
func (s *Source) Results() ([]Result, error) {
	if s.Multi() {
		return s.multiple()
	}
	p := Platform{}
	switch len(s.Platforms) {
	case 0:
		var err error
		if p, err = s.configPlatform(); err != nil {
			return nil, err
		}
	case 1:
		p = s.Platforms[0]
		if err := p.validate(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("cannot export multiple platforms without multi-platform enabled: %w", errdefs.ErrInvalidArgument)
	}
	r := Result{Platform: p, Ref: s.Ref, Attestations: s.Attestations[p.ID]}
	if len(r.Attestations) == 0 {
		r.Attestations = s.Attestations[""]
	}
	return []Result{r}, nil
}

func (s *Source) multiple() ([]Result, error) {
	if len(s.Platforms) == 0 {
		return nil, fmt.Errorf("unable to export multiple refs, missing platforms mapping: %w", errdefs.ErrInvalidArgument)
	}
	out := make([]Result, 0, len(s.Platforms))
	seen := map[string]bool{}
	for _, p := range s.Platforms {
		if err := p.validate(); err != nil {
			return nil, err
		}
		if seen[p.ID] {
			continue // Older frontends list a platform as often as it was asked for.
		}
		seen[p.ID] = true
		r, ok := s.Refs[p.ID]
		if !ok {
			return nil, fmt.Errorf("failed to find ref for ID %s: %w", p.ID, errdefs.ErrInvalidArgument)
		}
		out = append(out, Result{Platform: p, Ref: r, Attestations: s.Attestations[p.ID]})
	}
	return out, nil
}

// maxPlatformID bounds the id of a platform, in bytes: it can become the name
// of a directory.
const maxPlatformID = 255

// validate refuses what a hostile frontend could write: an id becomes part of a
// path at the client ("..": path traversal) and of messages.
func (p Platform) validate() error {
	switch {
	case p.ID == "":
		return fmt.Errorf("invalid empty platform key for exporter: %w", errdefs.ErrInvalidArgument)
	case p.ID == "." || p.ID == ".." || len(p.ID) > maxPlatformID || strings.ContainsFunc(p.ID, unprintable):
		return fmt.Errorf("invalid platform key %.80q for exporter: %w", p.ID, errdefs.ErrInvalidArgument)
	case p.Platform.OS == "" || p.Platform.Architecture == "":
		return fmt.Errorf("invalid platform value %s for exporter, os and architecture must be set: %w", p.ID, errdefs.ErrInvalidArgument)
	}
	return nil
}

func unprintable(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }

// configPlatform is the platform that the image configuration tells.
func (s *Source) configPlatform() (Platform, error) {
	p := platforms.DefaultSpec()
	if data := s.Metadata[MetaImageConfig]; len(data) > 0 {
		var config ocispecs.Platform
		if err := json.Unmarshal(data, &config); err != nil {
			return Platform{}, fmt.Errorf("invalid image config for export: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if (config.OS == "") != (config.Architecture == "") {
			return Platform{}, fmt.Errorf("invalid image config: os and architecture must be specified together: %w", errdefs.ErrInvalidArgument)
		}
		if config.OS != "" {
			p = config
		}
	}
	p = platforms.Normalize(p)
	return Platform{ID: platforms.FormatAll(p), Platform: p}, nil
}

// Meta returns metadata for one platform: that under "name/platform" if there
// is any, else that under name; nil if there is none.
func (s *Source) Meta(name, platform string) []byte {
	if platform != "" {
		if v, ok := s.Metadata[name+"/"+platform]; ok {
			return v
		}
	}
	return s.Metadata[name]
}

// With returns a copy of the source with some metadata replaced.
func (s *Source) With(metadata map[string]string) *Source {
	c := *s
	c.Metadata = make(map[string][]byte, len(s.Metadata)+len(metadata))
	maps.Copy(c.Metadata, s.Metadata)
	for k, v := range metadata {
		c.Metadata[k] = []byte(v)
	}
	return &c
}
