package ref

import "strings"

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
