package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Image is an assembled image.
type Image struct {
	// Descriptor of the root: the index, or the only manifest.
	Descriptor ocispecs.Descriptor
	// Manifests has one entry for each platform, in order.
	Manifests []Manifest
	// Index tells that Descriptor is an index.
	Index bool
}

// Manifest is the image of one platform.
type Manifest struct {
	// Descriptor of the manifest, with its platform.
	Descriptor ocispecs.Descriptor
	// Config is the descriptor of the configuration.
	Config ocispecs.Descriptor
	// Layers as the manifest names them, base first, and DiffIDs with the
	// digests of their tars.
	Layers  []ocispecs.Descriptor
	DiffIDs []digest.Digest
	// Attestation, if not nil, has the statements about this manifest.
	Attestation *Attestation
	// Ref is the file system; nil for an empty one. It belongs to the source.
	Ref *ref.Ref
}

// Attestation is the manifest with statements about another one.
type Attestation struct {
	// Descriptor of the manifest.
	Descriptor ocispecs.Descriptor
	// Blobs are the configuration and the statements.
	Blobs []ocispecs.Descriptor
}

// Blobs returns what the manifests of the image name, each blob once.
func (im *Image) Blobs() []ocispecs.Descriptor {
	var out []ocispecs.Descriptor
	seen := map[digest.Digest]bool{}
	add := func(list ...ocispecs.Descriptor) {
		for _, d := range list {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				out = append(out, d)
			}
		}
	}
	for _, m := range im.Manifests {
		add(m.Layers...)
		add(m.Config)
		if m.Attestation != nil {
			add(m.Attestation.Blobs...)
		}
	}
	return out
}

// Children returns what the root names if it is an index: all manifests.
func (im *Image) Children() []ocispecs.Descriptor {
	if !im.Index {
		return nil
	}
	var images, attestations []ocispecs.Descriptor
	for _, m := range im.Manifests {
		images = append(images, m.Descriptor)
		if m.Attestation != nil {
			attestations = append(attestations, m.Attestation.Descriptor)
		}
	}
	// Clients that look for images only stop at the first thing they do not know.
	return append(images, attestations...)
}

// Values are what a client is told about the image.
func (im *Image) Values() (map[string]string, error) {
	data, err := json.Marshal(im.Descriptor)
	if err != nil {
		return nil, fmt.Errorf("encode image descriptor: %w", err)
	}
	v := map[string]string{
		export.ValueDigest:     im.Descriptor.Digest.String(),
		export.ValueDescriptor: base64.StdEncoding.EncodeToString(data),
	}
	if !im.Index {
		v[export.ValueConfigDigest] = im.Manifests[0].Config.Digest.String()
	}
	return v, nil
}
