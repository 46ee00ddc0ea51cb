package frontend

import ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

// Names of result metadata with a meaning for the builder.
const (
	// MetaImageConfig holds the image configuration (JSON); with several
	// platforms, the name is followed by "/" and the platform id.
	MetaImageConfig = "containerimage.config"
	// MetaBaseConfig holds the base image's configuration.
	MetaBaseConfig = "containerimage.base.config"
	// MetaPlatforms holds the JSON of Platforms.
	MetaPlatforms = "refs.platforms"
	// MetaEpoch holds SOURCE_DATE_EPOCH in seconds.
	MetaEpoch = "source.date.epoch"
)

// Result is what a frontend returns: Ref, or Refs for several platforms.
type Result struct {
	Ref  Ref
	Refs map[string]Ref
	// Metadata by name, shared with exporters.
	Metadata map[string][]byte
	// Attestations by platform id.
	Attestations map[string][]Attestation
}

// SetMeta sets a metadata value.
func (r *Result) SetMeta(name string, value []byte) {
	if r.Metadata == nil {
		r.Metadata = map[string][]byte{}
	}
	r.Metadata[name] = value
}

// Platforms is the JSON under MetaPlatforms: the keys of Refs in order.
type Platforms struct {
	Platforms []Platform
}

// Platform is one key of Refs.
type Platform struct {
	ID       string
	Platform ocispecs.Platform
}

// Kinds of attestations, numbered as on the wire.
const (
	// AttestationInToto is one predicate in a file.
	AttestationInToto = 0
	// AttestationBundle is a directory of in-toto statements.
	AttestationBundle = 1
)

// Kinds of subjects, numbered as on the wire.
const (
	// SubjectSelf is the result itself.
	SubjectSelf = 0
	// SubjectRaw is what the digests say.
	SubjectRaw = 1
)

// Attestation is a statement about a result, as a file in a Ref.
type Attestation struct {
	// Kind is AttestationInToto or AttestationBundle.
	Kind     int
	Metadata map[string][]byte
	Ref      Ref
	Path     string
	// PredicateType of an in-toto statement.
	PredicateType string
	// Subjects are what an in-toto statement speaks of.
	Subjects []Subject
}

// Subject is what an in-toto statement speaks of.
type Subject struct {
	// Kind is SubjectSelf or SubjectRaw.
	Kind    int
	Name    string
	Digests []string
}
