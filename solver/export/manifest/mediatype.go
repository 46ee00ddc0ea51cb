package manifest

import (
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/ref"
)

// Compressions as Docker's media types spell them after a dot and OCI's after
// a plus sign.
var layerSuffixes = map[string]string{".gzip": "+gzip", ".zstd": "+zstd", "": ""}

// Beginnings of layers' media types.
const (
	dockerLayer   = images.MediaTypeDockerSchema2Layer
	dockerForeign = images.MediaTypeDockerSchema2LayerForeign
	ociLayer      = ocispecs.MediaTypeImageLayer
	ociForeign    = ocispecs.MediaTypeImageLayerNonDistributable //nolint:staticcheck // images with it exist
)

// layerType turns the media type of a layer into that of a family. Layers that
// must not be distributed become ordinary ones unless foreign is set.
func layerType(mediaType string, oci, foreign bool) (string, error) {
	for _, begin := range []string{dockerLayer, dockerForeign, ociLayer, ociForeign} {
		rest, ok := strings.CutPrefix(mediaType, begin)
		if !ok {
			continue
		}
		for docker, plus := range layerSuffixes {
			if rest != docker && rest != plus {
				continue
			}
			keep := foreign && (begin == dockerForeign || begin == ociForeign)
			switch {
			case oci && keep:
				return ociForeign + plus, nil
			case oci:
				return ociLayer + plus, nil
			case keep:
				return dockerForeign + docker, nil
			}
			return dockerLayer + docker, nil
		}
	}
	if oci {
		// Others are OCI's to know: encrypted layers, for one.
		return mediaType, nil
	}
	return "", fmt.Errorf("layer of type %s cannot be exported with \"oci-mediatypes=false\": %w", mediaType, errdefs.ErrInvalidArgument)
}

// foreignType is the type of a layer that can be had elsewhere and need not be
// distributed. Another image, which it came with first, may have told another.
func foreignType(mediaType string) string {
	for ordinary, foreign := range map[string]string{dockerLayer: dockerForeign, ociLayer: ociForeign} {
		if rest, ok := strings.CutPrefix(mediaType, ordinary); ok {
			return foreign + rest
		}
	}
	return mediaType
}

// layerDescriptor is how a manifest names a layer: with the media type of the
// family and without what concerns this machine only.
func layerDescriptor(desc ocispecs.Descriptor, oci, foreign bool) (ocispecs.Descriptor, error) {
	mediaType := desc.MediaType
	if foreign && len(desc.URLs) > 0 {
		mediaType = foreignType(mediaType)
	}
	mediaType, err := layerType(mediaType, oci, foreign)
	if err != nil {
		return desc, err
	}
	out := ocispecs.Descriptor{MediaType: mediaType, Digest: desc.Digest, Size: desc.Size}
	if images.IsNonDistributable(mediaType) {
		out.URLs = desc.URLs
	}
	if oci {
		out.Annotations = maps.Clone(desc.Annotations)
		maps.DeleteFunc(out.Annotations, func(k, _ string) bool { return internal(k) })
		if len(out.Annotations) == 0 {
			out.Annotations = nil
		}
	}
	return out, nil
}

// internal tells annotations of layers that are not for others to see. By the
// epoch's, others see what they need not rewrite.
func internal(key string) bool {
	return key == labels.LabelUncompressed || strings.HasPrefix(key, "buildkit/") && key != ref.AnnotationEpoch ||
		strings.HasPrefix(key, labels.LabelDistributionSource+".")
}

// LayerType turns the media type of a layer into that of a family, OCI's or
// Docker's; layers that must not be distributed become ordinary ones. Errors
// are of kind InvalidArgument.
func LayerType(mediaType string, oci bool) (string, error) { return layerType(mediaType, oci, false) }
