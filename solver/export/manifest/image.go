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
	// Ref is the file system; nil for an empty one. It belongs to the source.
	Ref *ref.Ref
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
