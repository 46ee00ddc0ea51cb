package differ

import (
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ/compress"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// algorithms maps the media types that can be written to how they are
// compressed. Non-distributable layers are never made here.
var algorithms = map[string]compress.Algorithm{
	ocispec.MediaTypeImageLayer:            compress.Uncompressed,
	ocispec.MediaTypeImageLayerGzip:        compress.Gzip,
	ocispec.MediaTypeImageLayerZstd:        compress.Zstd,
	images.MediaTypeDockerSchema2Layer:     compress.Uncompressed,
	images.MediaTypeDockerSchema2LayerGzip: compress.Gzip,
	images.MediaTypeDockerSchema2LayerZstd: compress.Zstd,
}

// nondistributable lists the media types that can be read besides: layers that
// may not be pushed, but unpack like any other. Their OCI names are deprecated
// and still found in images.
var nondistributable = map[string]bool{
	"application/vnd.oci.image.layer.nondistributable.v1.tar":      true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": true,
	images.MediaTypeDockerSchema2LayerForeign:                      true,
	images.MediaTypeDockerSchema2LayerForeignGzip:                  true,
}

// algorithmOf tells how a media type is written, or ErrNotImplemented.
func algorithmOf(mediaType string) (compress.Algorithm, error) {
	a, ok := algorithms[mediaType]
	if !ok {
		return 0, fmt.Errorf("layer media type %q: %w", mediaType, errdefs.ErrNotImplemented)
	}
	return a, nil
}

// isLayer reports whether a blob of the media type is a tar that compress reads
// by itself.
func isLayer(mediaType string) bool {
	_, ok := algorithms[mediaType]
	return ok || nondistributable[mediaType]
}
