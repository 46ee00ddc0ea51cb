package manifest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/ref"
)

// defaultPath is what a shell on the platforms we know expects to start with.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// configInput is what a configuration is made of.
type configInput struct {
	// config is the frontend's, base that of the image it built upon; either
	// may be empty.
	config, base []byte
	platform     ocispecs.Platform
	layers       []ref.Layer
	// epoch is the latest time allowed; nil for any.
	epoch *time.Time
	// cache is the build cache that travels along; nil for none.
	cache []byte
}

// inlineCacheField has the build cache (wire format fact).
const inlineCacheField = "moby.buildkit.cache.v0"

// imageConfig returns the configuration of an image: the frontend's with the
// layers, the history and the time of making filled in. Fields that are not
// known here are kept as they are.
func imageConfig(in configInput) ([]byte, error) {
	data := in.config
	if len(data) == 0 {
		var err error
		if data, err = defaultConfig(in.platform); err != nil {
			return nil, err
		}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("invalid image config for export: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	var image ocispecs.Image
	if err := json.Unmarshal(data, &image); err != nil {
		return nil, fmt.Errorf("invalid image config for export: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if fields == nil {
		return nil, fmt.Errorf("invalid null image config for export: %w", errdefs.ErrInvalidArgument)
	}
	if missing := missingField(image); missing != "" {
		return nil, fmt.Errorf("invalid image config for export: missing %s: %w", missing, errdefs.ErrInvalidArgument)
	}
	history := completeHistory(image.History, in.layers)
	if in.epoch != nil {
		base, err := baseHistory(in.base)
		if err != nil {
			return nil, err
		}
		boundHistory(history, base, *in.epoch)
	}
	created, err := creationTime(fields["created"], history, in.epoch)
	if err != nil {
		return nil, err
	}
	diffIDs := make([]digest.Digest, len(in.layers))
	for i, l := range in.layers {
		diffIDs[i] = l.DiffID
	}
	values := map[string]any{
		"rootfs":  ocispecs.RootFS{Type: "layers", DiffIDs: diffIDs},
		"history": history,
		"created": created,
	}
	// That of a base image says nothing of the layers here.
	delete(fields, inlineCacheField)
	if in.cache != nil {
		values[inlineCacheField] = in.cache
	}
	return patch(fields, values)
}

// missingField names a field without which nobody can run the image.
func missingField(image ocispecs.Image) string {
	switch {
	case image.OS == "":
		return "os"
	case image.Architecture == "":
		return "architecture"
	}
	return ""
}

// patch replaces fields and encodes the result; the order of fields is that of
// their names.
func patch(fields map[string]json.RawMessage, values map[string]any) ([]byte, error) {
	for name, v := range values {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode %s of image config: %w", name, err)
		}
		fields[name] = data
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode image config: %w", err)
	}
	return data, nil
}

// creationTime returns the field "created": what the frontend says, at most
// epoch, or else the time of the last step; null if nothing is known.
func creationTime(field json.RawMessage, history []ocispecs.History, epoch *time.Time) (any, error) {
	if field == nil {
		var last *time.Time
		for _, h := range history {
			if h.Created != nil {
				last = h.Created
			}
		}
		return last, nil
	}
	if epoch == nil {
		return field, nil
	}
	var t time.Time
	if err := json.Unmarshal(field, &t); err != nil {
		return nil, fmt.Errorf("invalid image config for export: creation time %.100s: %w: %w", field, err, errdefs.ErrInvalidArgument)
	}
	if t.After(*epoch) {
		return epoch, nil
	}
	return field, nil
}

// defaultConfig is the configuration of a result that came without one.
func defaultConfig(p ocispecs.Platform) ([]byte, error) {
	image := ocispecs.Image{Platform: p}
	image.RootFS.Type = "layers"
	image.Config.WorkingDir = "/"
	if p.OS != "windows" {
		image.Config.Env = []string{defaultPath}
	}
	data, err := json.Marshal(image)
	if err != nil {
		return nil, fmt.Errorf("encode default image config: %w", err)
	}
	return data, nil
}

// baseHistory reads the history out of the base image's configuration.
func baseHistory(config []byte) ([]ocispecs.History, error) {
	base, err := parseBase(config)
	return base.History, err
}

// baseLayers returns the diff ids of the image that was built upon; none if it
// is not known.
func baseLayers(config []byte) ([]digest.Digest, error) {
	base, err := parseBase(config)
	return base.RootFS.DiffIDs, err
}

// baseConfig is what matters of the configuration of the image that was built
// upon.
type baseConfig struct {
	History []ocispecs.History `json:"history"`
	RootFS  ocispecs.RootFS    `json:"rootfs"`
}

func parseBase(config []byte) (baseConfig, error) {
	var base baseConfig

	if len(config) == 0 {
		return base, nil
	}
	if err := json.Unmarshal(config, &base); err != nil {
		return base, fmt.Errorf("invalid base image config: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return base, nil
}
