package config

// Config is a whole kilnd.toml. A pointer or a slice that is nil was not given.
type Config struct {
	Debug bool `toml:"debug"` // same as log level debug
	Trace bool `toml:"trace"` // same as log level trace

	Root             string   `toml:"root"`
	Entitlements     []string `toml:"insecure-entitlements"`
	ProxyNetwork     bool     `toml:"proxyNetwork"`
	ProvenanceEnvDir string   `toml:"provenanceEnvDir"` // every *.json in it is merged into provenance

	Log      Log                 `toml:"log"`
	GRPC     GRPC                `toml:"grpc"`
	OTEL     OTEL                `toml:"otel"`
	CDI      CDI                 `toml:"cdi"`
	History  *History            `toml:"history"`
	DNS      *DNS                `toml:"dns"`
	System   *System             `toml:"system"`
	Frontend Frontends           `toml:"frontend"`
	Registry map[string]Registry `toml:"registry"` // by host, optionally with a port
	Cache    Cache               `toml:"cache"`
	Workers  Workers             `toml:"worker"`
	Service  Service             `toml:"service"`
}

// Service says when the daemon ends, which is kiln's own and not buildkitd's.
type Service struct {
	IdleStop Duration `toml:"idleStop"` // without a client and a build; 0 is never
	Drain    Duration `toml:"drain"`    // how long builds may go on after the first SIGTERM; 0 cancels them
}

// Log says what is logged and how.
type Log struct {
	Format string `toml:"format"` // "text" or "json"
	Level  string `toml:"level"`
}

// GRPC is where the daemon listens.
type GRPC struct {
	Address            []string `toml:"address"`
	DebugAddress       string   `toml:"debugAddress"`
	UID                *int     `toml:"uid"`
	GID                *int     `toml:"gid"`
	SecurityDescriptor string   `toml:"securityDescriptor"` // Windows only
	TLS                TLS      `toml:"tls"`
}

// TLS names PEM files. With a CA, clients must present a certificate that it signed.
type TLS struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
	CA   string `toml:"ca"`
}

// OTEL is where build steps may send traces.
type OTEL struct {
	SocketPath string `toml:"socketPath"`
}

// CDI configures access to devices.
type CDI struct {
	Disabled    *bool    `toml:"disabled"`
	SpecDirs    []string `toml:"specDirs"`
	AutoAllowed []string `toml:"autoAllowed"` // names of devices, or kinds
}

// History says how long finished builds are remembered; pinned ones are kept anyway.
type History struct {
	MaxAge     Duration `toml:"maxAge"`
	MaxEntries int64    `toml:"maxEntries"`
}

// DNS replaces the host's resolver configuration in build steps.
type DNS struct {
	Nameservers   []string `toml:"nameservers"`
	Options       []string `toml:"options"`
	SearchDomains []string `toml:"searchDomains"`
}

// System tunes the daemon.
type System struct {
	// PlatformsCacheMaxAge is how long the list of emulated platforms is believed; negative is for ever.
	PlatformsCacheMaxAge *Duration `toml:"platformsCacheMaxAge"`
	// MaxRegistryConcurrency is the number of requests at a time for each registry; it must be positive.
	MaxRegistryConcurrency *int64 `toml:"maxRegistryConcurrency"`
}

// Frontends switches the built-in frontends.
type Frontends struct {
	Dockerfile DockerfileFrontend `toml:"dockerfile.v0"`
	Gateway    GatewayFrontend    `toml:"gateway.v0"`
}

// DockerfileFrontend is the built-in Dockerfile frontend.
type DockerfileFrontend struct {
	Enabled *bool `toml:"enabled"`
}

// GatewayFrontend runs frontends from images.
type GatewayFrontend struct {
	Enabled             *bool    `toml:"enabled"`
	AllowedRepositories []string `toml:"allowedRepositories"` // without tags; empty allows all
}

// Registry says how to reach one registry host; see the registry package for what follows from it.
type Registry struct {
	Mirrors      []string     `toml:"mirrors"` // "host[:port][/path]", tried in order before the host itself
	PlainHTTP    *bool        `toml:"http"`
	Insecure     *bool        `toml:"insecure"` // do not verify certificates
	RootCAs      []string     `toml:"ca"`
	KeyPairs     []TLSKeyPair `toml:"keypair"`
	TLSConfigDir []string     `toml:"tlsconfigdir"` // *.crt are CAs, *.cert with *.key are key pairs
}

// TLSKeyPair is a client certificate.
type TLSKeyPair struct {
	Key         string `toml:"key"`
	Certificate string `toml:"cert"`
}

// Cache configures remote caches.
type Cache struct {
	GHA GHACache `toml:"gha"`
}

// GHACache is the signing of GitHub's cache.
type GHACache struct {
	Sign   *GHASign   `toml:"sign"`
	Verify *GHAVerify `toml:"verify"`
}

// GHASign is the command that signs.
type GHASign struct {
	Command []string `toml:"command"`
}

// GHAVerify says which signatures count.
type GHAVerify struct {
	Required bool      `toml:"required"`
	Policy   GHAPolicy `toml:"policy"`
}

// GHAPolicy are the demands on a signature: how many witnesses, and patterns ("*" is any text) for what the certificate
// says.
type GHAPolicy struct {
	TimestampThreshold int `toml:"timestampThreshold"`
	TlogThreshold      int `toml:"tlogThreshold"`

	CertificateIssuer                   string `toml:"certificateIssuer"`
	SubjectAlternativeName              string `toml:"subjectAlternativeName"`
	Issuer                              string `toml:"issuer"`
	GithubWorkflowTrigger               string `toml:"githubWorkflowTrigger"`
	GithubWorkflowSHA                   string `toml:"githubWorkflowSHA"`
	GithubWorkflowName                  string `toml:"githubWorkflowName"`
	GithubWorkflowRepository            string `toml:"githubWorkflowRepository"`
	GithubWorkflowRef                   string `toml:"githubWorkflowRef"`
	BuildSignerURI                      string `toml:"buildSignerURI"`
	BuildSignerDigest                   string `toml:"buildSignerDigest"`
	RunnerEnvironment                   string `toml:"runnerEnvironment"`
	SourceRepositoryURI                 string `toml:"sourceRepositoryURI"`
	SourceRepositoryDigest              string `toml:"sourceRepositoryDigest"`
	SourceRepositoryRef                 string `toml:"sourceRepositoryRef"`
	SourceRepositoryIdentifier          string `toml:"sourceRepositoryIdentifier"`
	SourceRepositoryOwnerURI            string `toml:"sourceRepositoryOwnerURI"`
	SourceRepositoryOwnerIdentifier     string `toml:"sourceRepositoryOwnerIdentifier"`
	SourceRepositoryVisibilityAtSigning string `toml:"sourceRepositoryVisibilityAtSigning"`
	BuildConfigURI                      string `toml:"buildConfigURI"`
	BuildConfigDigest                   string `toml:"buildConfigDigest"`
	BuildTrigger                        string `toml:"buildTrigger"`
	RunInvocationURI                    string `toml:"runInvocationURI"`
}
