package provenance

import "time"

// PredicateV02 is SLSA provenance version 0.2, made from version 1.
type PredicateV02 struct {
	Builder     Builder      `json:"builder"`
	BuildType   string       `json:"buildType"`
	Invocation  Invocation   `json:"invocation"`
	BuildConfig *BuildConfig `json:"buildConfig,omitempty"`
	Metadata    MetadataV02  `json:"metadata"`
	Materials   []Dependency `json:"materials,omitempty"`
}

// Invocation says what was to be done.
type Invocation struct {
	ConfigSource ConfigSourceV02 `json:"configSource"`
	Parameters   Parameters      `json:"parameters"`
	Environment  Environment     `json:"environment"`
}

// ConfigSourceV02 is ConfigSource in version 0.2.
type ConfigSourceV02 struct {
	URI        string            `json:"uri,omitempty"`
	Digest     map[string]string `json:"digest,omitempty"`
	EntryPoint string            `json:"entryPoint,omitempty"`
}

// Environment is the builder's part. Custom has the daemon's own fields, at
// the same level in JSON.
type Environment struct {
	Platform          string
	DockerfileVersion string
	Custom            map[string]any
}

// MarshalJSON writes all fields at one level.
func (e Environment) MarshalJSON() ([]byte, error) {
	return flat(e.Custom, map[string]any{"platform": e.Platform, "dockerfileVersion": orNil(e.DockerfileVersion)})
}

// MetadataV02 is about one invocation.
type MetadataV02 struct {
	InvocationID string          `json:"buildInvocationID,omitempty"`
	StartedOn    *time.Time      `json:"buildStartedOn,omitempty"`
	FinishedOn   *time.Time      `json:"buildFinishedOn,omitempty"`
	Completeness CompletenessV02 `json:"completeness"`
	Reproducible bool            `json:"reproducible"`
	Build        BuildDetails    `json:"https://mobyproject.org/buildkit@v1#metadata"`
	Hermetic     bool            `json:"https://mobyproject.org/buildkit@v1#hermetic,omitempty"`
}

// CompletenessV02 is Completeness in version 0.2.
type CompletenessV02 struct {
	Parameters  bool `json:"parameters"`
	Environment bool `json:"environment"`
	Materials   bool `json:"materials"`
}

// V02 returns the same facts in the older form.
func (p *Predicate) V02() *PredicateV02 {
	ext, in, meta := &p.Definition.External, &p.Definition.Internal, &p.Run.Metadata
	return &PredicateV02{
		Builder:   p.Run.Builder,
		BuildType: buildTypeV02,
		Invocation: Invocation{
			ConfigSource: ConfigSourceV02{URI: ext.ConfigSource.URI, Digest: ext.ConfigSource.Digest, EntryPoint: ext.ConfigSource.Path},
			Parameters:   ext.Request,
			Environment:  Environment{Platform: in.BuilderPlatform, DockerfileVersion: in.DockerfileVersion, Custom: in.Custom},
		},
		BuildConfig: in.BuildConfig,
		Metadata: MetadataV02{
			InvocationID: meta.InvocationID, StartedOn: meta.StartedOn, FinishedOn: meta.FinishedOn,
			Completeness: CompletenessV02{
				Parameters: meta.Completeness.Request, Environment: true, Materials: meta.Completeness.Dependencies,
			},
			Reproducible: meta.Reproducible, Build: meta.Build, Hermetic: meta.Hermetic,
		},
		Materials: p.Definition.Dependencies,
	}
}
