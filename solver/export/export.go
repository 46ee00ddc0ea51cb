package export

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Exporter is one kind of output.
type Exporter interface {
	// Resolve checks attributes. Those it does not know are kept: they replace
	// result metadata of the same name. Errors name the attribute.
	Resolve(ctx context.Context, attrs map[string]string) (Instance, error)
}

// Instance is an exporter with its attributes.
type Instance interface {
	// Name is shown as the vertex, for example "exporting to image".
	Name() string
	// Export writes src. Progress goes to t.Env.
	Export(ctx context.Context, src *Source, t Target) (*Response, error)
}

// Target says for whom an export is.
type Target struct {
	// Env reports progress and has the client's sessions.
	Env solver.Env
	// ID is the exporter's number in the request: clients tell several
	// receivers apart by it.
	ID int
}

// Response is what an export gives back.
type Response struct {
	// Values are returned to the client by name.
	Values map[string]string
	// Descriptor of what was made, if it is content.
	Descriptor *ocispecs.Descriptor
	// Finalize, if not nil, completes the export.
	Finalize func(ctx context.Context) error
	// Release, if not nil, lets go of what Descriptor leads to. It is called
	// once, when everybody who may want to keep that has been told.
	Release func(ctx context.Context)
}

// Source is an evaluated result.
type Source struct {
	// Ref is the single result; nil for an empty file system or when Refs is
	// set.
	Ref *ref.Ref
	// Refs by platform id; values may be nil.
	Refs map[string]*ref.Ref
	// Platforms orders the keys of Refs; for a single result it may hold its
	// platform.
	Platforms []Platform
	// Metadata of the result by name.
	Metadata map[string][]byte
	// Compatibility is the version of behaviour that was asked for; 0 is the
	// newest.
	Compatibility int
	// Attestations by platform id ("" for a single result).
	Attestations map[string][]Attestation
	// InlineCache, if not nil, returns the build cache that the configuration
	// of a platform's image is to carry, as it stands there before base64; nil
	// for none. layers are those of the image.
	InlineCache func(ctx context.Context, platform string, layers []ref.Layer) ([]byte, error)
}

// Platform is one key of Source.Refs.
type Platform struct {
	ID       string
	Platform ocispecs.Platform
}

// Attestation is something said about a result: a predicate in a file of Ref
// or made by the builder itself, or a directory of statements in Ref.
type Attestation struct {
	// Bundle tells that Path is a directory of in-toto statements.
	Bundle bool
	// PredicateType of the in-toto statement; of every statement in a bundle,
	// if it is not empty.
	PredicateType string
	// Subjects it is about; none means the result.
	Subjects []Subject
	// Path in Ref, or the suggested file name of Data.
	Path string
	Ref  *ref.Ref
	// Data returns the predicate when it is needed; nil if Ref is used. It is
	// told the layers of the image that it is about, base first; none if that
	// is no image.
	Data func(ctx context.Context, layers []ocispecs.Descriptor) ([]byte, error)
	// InlineOnly attestations are left out of exports to files.
	InlineOnly bool
	Metadata   map[string][]byte
}

// Subject is what an attestation is about.
type Subject struct {
	// Self is the result, whatever an exporter makes of it; a Name is given to
	// it beside its own.
	Self bool
	Name string
	// Digests of something else.
	Digests []digest.Digest
}
