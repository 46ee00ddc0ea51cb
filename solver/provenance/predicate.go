package provenance

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/opencontainers/go-digest"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Types of predicates and of builds, by version.
const (
	PredicateTypeV1  = "https://slsa.dev/provenance/v1"
	PredicateTypeV02 = "https://slsa.dev/provenance/v0.2"

	buildTypeV1  = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
	buildTypeV02 = "https://mobyproject.org/buildkit@v1"
)

// Predicate is SLSA provenance version 1; its JSON form is the one on the wire.
type Predicate struct {
	Definition BuildDefinition `json:"buildDefinition"`
	Run        RunDetails      `json:"runDetails"`
}

// BuildDefinition says what was to be done.
type BuildDefinition struct {
	BuildType    string             `json:"buildType"`
	External     ExternalParameters `json:"externalParameters"`
	Internal     InternalParameters `json:"internalParameters"`
	Dependencies []Dependency       `json:"resolvedDependencies,omitempty"`
}

// ExternalParameters are what the user asked for.
type ExternalParameters struct {
	ConfigSource ConfigSource `json:"configSource"`
	Request      Parameters   `json:"request"`
}

// ConfigSource is where the build's instructions came from. Digest has
// hexadecimal digests by algorithm.
type ConfigSource struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
	Path   string            `json:"path,omitempty"`
}

// Parameters are what a frontend was asked for.
type Parameters struct {
	Frontend             string                  `json:"frontend,omitempty"`
	Args                 map[string]string       `json:"args,omitempty"`
	Secrets              []Forwarded             `json:"secrets,omitempty"`
	SSH                  []Forwarded             `json:"ssh,omitempty"`
	Locals               []Local                 `json:"locals,omitempty"`
	Inputs               map[string]*InputSource `json:"inputs,omitempty"`
	Root                 *InputSource            `json:"root,omitempty"`
	CompatibilityVersion int                     `json:"compatibilityVersion,omitempty"`
}

// InputSource is another request that this one builds on.
type InputSource struct {
	ConfigSource ConfigSource `json:"configSource"`
	Request      *Parameters  `json:"request,omitempty"`
}

// Forwarded is a secret or an SSH agent that steps could use.
type Forwarded struct {
	ID       string `json:"id"`
	Optional bool   `json:"optional,omitempty"`
}

// Local is a directory of the client.
type Local struct {
	Name string `json:"name"`
}

// InternalParameters are the builder's part. Custom has the daemon's own
// fields, at the same level in JSON; they do not replace the others.
type InternalParameters struct {
	BuildConfig       *BuildConfig
	BuilderPlatform   string
	DockerfileVersion string
	Custom            map[string]any
}

// MarshalJSON writes all fields at one level.
func (p InternalParameters) MarshalJSON() ([]byte, error) {
	return flat(p.Custom, map[string]any{
		"buildConfig": orNil(p.BuildConfig), "builderPlatform": p.BuilderPlatform, "dockerfileVersion": orNil(p.DockerfileVersion),
	})
}

// orNil is nil for a zero value.
func orNil[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// flat writes custom and own fields as one object; nil ones are left out.
func flat(custom, own map[string]any) ([]byte, error) {
	all := make(map[string]any, len(custom)+len(own))
	maps.Copy(all, custom)
	for k, v := range own {
		if v != nil {
			all[k] = v
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode parameters: %w", err)
	}
	return data, nil
}

// BuildConfig is the graph that was solved.
type BuildConfig struct {
	Steps []Step `json:"llbDefinition,omitempty"`
	// DigestMapping has the ids of steps by the digests of their vertices.
	DigestMapping map[digest.Digest]string `json:"digestMapping,omitempty"`
}

// Step is one vertex; Inputs are "<step id>:<output>".
type Step struct {
	ID     string   `json:"id,omitempty"`
	Op     *pb.Op   `json:"op,omitempty"`
	Inputs []string `json:"inputs,omitempty"`
}

// Dependency is a material. Digest has hexadecimal digests by algorithm.
type Dependency struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// RunDetails say how it went.
type RunDetails struct {
	Builder  Builder  `json:"builder"`
	Metadata Metadata `json:"metadata"`
}

// Builder names who vouches for the provenance; often empty.
type Builder struct {
	ID string `json:"id"`
}

// Metadata is about one invocation.
type Metadata struct {
	InvocationID string       `json:"invocationId,omitempty"`
	StartedOn    *time.Time   `json:"startedOn,omitempty"`
	FinishedOn   *time.Time   `json:"finishedOn,omitempty"`
	Build        BuildDetails `json:"buildkit_metadata"`
	Hermetic     bool         `json:"buildkit_hermetic,omitempty"`
	Completeness Completeness `json:"buildkit_completeness"`
	Reproducible bool         `json:"buildkit_reproducible,omitempty"`
}

// Completeness tells whether the request and the dependencies are complete.
type Completeness struct {
	Request      bool `json:"request"`
	Dependencies bool `json:"resolvedDependencies"`
}

// BuildDetails are extensions that readers know.
type BuildDetails struct {
	VCS    map[string]string `json:"vcs,omitempty"`
	Source *SourceTexts      `json:"source,omitempty"`
	// Layers by "<step id>:<output>".
	Layers  layersOf `json:"layers,omitempty"`
	Network *Network `json:"network,omitempty"`
	// SysUsage is how busy the machine was, oldest first.
	SysUsage []*Sample `json:"sysUsage,omitempty"`
}

// SourceTexts are what steps were written in. Locations are by step id.
type SourceTexts struct {
	Locations map[string]*pb.Locations `json:"locations,omitempty"`
	Infos     []SourceText             `json:"infos,omitempty"`
}

// SourceText is one file, and the graph that it was read from.
type SourceText struct {
	Filename string `json:"filename,omitempty"`
	Language string `json:"language,omitempty"`
	Data     []byte `json:"data,omitempty"`
	BuildConfig
}

// Network describes the network of steps if it was a recorded one.
type Network struct {
	Mode  string        `json:"mode,omitempty"`
	Proxy *ProxyNetwork `json:"proxy,omitempty"`
}

// ProxyNetwork lists the requests that could not be pinned.
type ProxyNetwork struct {
	Incomplete []Unpinned `json:"incomplete,omitempty"`
}

// Unpinned is a request of a step whose answer is no material.
type Unpinned struct {
	Op       string `json:"op,omitempty"`
	Name     string `json:"name,omitempty"`
	Method   string `json:"method,omitempty"`
	URI      string `json:"uri,omitempty"`
	FinalURI string `json:"finalUri,omitempty"`
	Reason   string `json:"reason,omitempty"`
}
