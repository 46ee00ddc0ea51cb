package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/progress"
)

// maxWrites is how many layers are written at once; a registry client has its
// own limit.
const maxWrites = 8

// Target is where a cache is written. What a manifest names is written before
// it.
type Target interface {
	// Blob writes a blob, unless it is there.
	Blob(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error
	// Root writes the manifest and makes it the cache's.
	Root(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error
}

// Write writes a bundle and returns the response values for the client.
func Write(ctx context.Context, o Options, b *remote.Bundle, blobs content.Provider, to Target, env solver.Env) (map[string]string, error) {
	layers, err := writeLayers(ctx, o, b, blobs, to, env)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(b.Config)
	if err != nil {
		return nil, fmt.Errorf("encode cache config: %w", err)
	}
	desc := describe(remote.MediaTypeConfig, config)
	err = reported(env, "writing config "+desc.Digest.String(), func() error { return to.Blob(ctx, desc, document(config)) })
	if err != nil {
		return nil, fmt.Errorf("error writing config blob: %w", err)
	}
	data, root, err := rootDocument(o, layers, desc)
	if err != nil {
		return nil, err
	}
	what := "writing cache manifest "
	if o.Image {
		what = "writing cache image manifest "
	}
	err = reported(env, what+root.Digest.String(), func() error { return to.Root(ctx, root, document(data)) })
	if err != nil {
		return nil, fmt.Errorf("error writing manifest blob: %w", err)
	}
	response, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("encode descriptor of cache: %w", err)
	}
	return map[string]string{remote.ValueManifest: string(response)}, nil
}

// reported runs fn as an activity that is shown.
func reported(env solver.Env, id string, fn func() error) error {
	defer progress.Status(env, id, "").Done()
	return fn()
}

// writeLayers writes the blobs side by side and returns how the manifest names
// them.
func writeLayers(ctx context.Context, o Options, b *remote.Bundle, blobs content.Provider, to Target, env solver.Env) ([]ocispecs.Descriptor, error) {
	out := make([]ocispecs.Descriptor, len(b.Blobs))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxWrites)
	for i, blob := range b.Blobs {
		group.Go(func() error {
			desc, err := layerDescriptor(blob, o.OCI)
			if err != nil {
				return err
			}
			out[i] = desc
			plain := blob.Descriptor
			plain.MediaType = desc.MediaType
			err = reported(env, "writing layer "+desc.Digest.String(), func() error { return to.Blob(gctx, plain, blobs) })
			if err != nil {
				return fmt.Errorf("error writing layer blob: %w", err)
			}
			return nil
		})
	}
	return out, group.Wait()
}

// layerDescriptor is how a cache's manifest names a layer: with what it takes
// to make a file system of it.
func layerDescriptor(b remote.Blob, oci bool) (ocispecs.Descriptor, error) {
	mediaType, err := manifest.LayerType(b.Descriptor.MediaType, oci)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	annotations := map[string]string{remote.AnnotationDiffID: b.DiffID.String()}
	if b.CreatedAt != nil {
		annotations[remote.AnnotationCreatedAt] = b.CreatedAt.UTC().Format(time.RFC3339Nano)
	}
	return ocispecs.Descriptor{MediaType: mediaType, Digest: b.Descriptor.Digest, Size: b.Descriptor.Size, Annotations: annotations}, nil
}

// rootDocument is the manifest in the form that was asked for; compact JSON is
// a wire format fact.
func rootDocument(o Options, layers []ocispecs.Descriptor, config ocispecs.Descriptor) ([]byte, ocispecs.Descriptor, error) {
	version := specs.Versioned{SchemaVersion: 2}
	mediaType := images.MediaTypeDockerSchema2ManifestList
	switch {
	case o.Image:
		mediaType = ocispecs.MediaTypeImageManifest
	case o.OCI:
		mediaType = ocispecs.MediaTypeImageIndex
	}
	var v any = ocispecs.Index{Versioned: version, MediaType: mediaType, Manifests: append(layers, config)}
	if o.Image {
		v = ocispecs.Manifest{Versioned: version, MediaType: mediaType, Config: config, Layers: layers}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, ocispecs.Descriptor{}, fmt.Errorf("encode manifest of cache: %w", err)
	}
	return data, describe(mediaType, data), nil
}

func describe(mediaType string, data []byte) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// document is a provider of one small blob.
type document []byte

// ReaderAt implements content.Provider.
func (d document) ReaderAt(context.Context, ocispecs.Descriptor) (content.ReaderAt, error) {
	return documentReader{bytes.NewReader(d)}, nil
}

type documentReader struct{ *bytes.Reader }

// Close does nothing.
func (documentReader) Close() error { return nil }

var _ io.ReaderAt = documentReader{}
