package artifact

import (
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Options are the attributes of a cache that decide what it looks like.
type Options struct {
	// OCI selects the media types of OCI instead of Docker's.
	OCI bool
	// Image selects the form of an image manifest instead of an index.
	Image bool
	// Layers says how blobs are compressed.
	Layers ref.LayerOptions
}

// Names of attributes.
const (
	attrImage = "image-manifest"
	attrOCI   = "oci-mediatypes"
)

// ParseOptions reads the attributes; those it does not know are not its.
// Errors are errdefs InvalidArgument and name the attribute.
func ParseOptions(attrs map[string]string) (Options, error) {
	o := Options{OCI: true}
	if err := parseBool(attrs, attrOCI, &o.OCI); err != nil {
		return o, err
	}
	o.Image = o.OCI
	if err := parseBool(attrs, attrImage, &o.Image); err != nil {
		return o, err
	}
	if o.Image && !o.OCI {
		return o, fmt.Errorf("invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format: %w", errdefs.ErrInvalidArgument)
	}
	layers, err := ParseLayers(attrs)
	o.Layers = layers
	return o, err
}

// ParseLayers reads the attributes of compression.
func ParseLayers(attrs map[string]string) (ref.LayerOptions, error) {
	picked := map[string]string{}
	for _, k := range []string{"compression", "compression-level", "force-compression"} {
		if v, ok := attrs[k]; ok {
			picked[k] = v
		}
	}
	o, _, err := manifest.ParseOptions(picked, false)
	return o.Layers, err
}

func parseBool(attrs map[string]string, name string, to *bool) error {
	v, ok := attrs[name]
	if !ok {
		return nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("failed to parse %s: %q is no bool: %w", name, v, errdefs.ErrInvalidArgument)
	}
	*to = b
	return nil
}
