package ref

import (
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationTOC is on every Estargz layer (wire format fact).
const annotationTOC = "containerd.io/snapshot/stargz/toc.digest"

// CompressionOfLayer returns the compression of a layer: Gzip, Zstd, Estargz or
// Uncompressed; empty for others. An Estargz layer has the media type of a gzip
// one, so this needs the whole descriptor.
func CompressionOfLayer(desc ocispecs.Descriptor) string {
	if desc.Annotations[annotationTOC] != "" {
		return Estargz
	}
	return compressionOf(desc.MediaType)
}

// compressionOf returns the compression that a layer's media type tells, or ""
// if it is another one.
func compressionOf(mediaType string) string {
	switch {
	case strings.HasSuffix(mediaType, "+gzip"), strings.HasSuffix(mediaType, ".tar.gzip"):
		return Gzip
	case strings.HasSuffix(mediaType, "+zstd"), strings.HasSuffix(mediaType, ".tar.zstd"):
		return Zstd
	case strings.HasSuffix(mediaType, ".tar"):
		return Uncompressed
	}
	return ""
}

// CompressionOf returns the compression that a layer's media type tells: Gzip,
// Zstd or Uncompressed; empty for others.
func CompressionOf(mediaType string) string { return compressionOf(mediaType) }
