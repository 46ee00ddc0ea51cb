package build

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// Request is what one client wants built.
type Request struct {
	// ID names the build; chosen by the client.
	ID string
	// SessionID is the client's session.
	SessionID string
	// Definition is a graph to solve, or Frontend the name of a frontend to
	// call with Opts and Inputs. With neither, the client itself is the
	// frontend: a gateway build.
	Definition *pb.Definition
	Frontend   string
	Opts       map[string]string
	Inputs     map[string]*pb.Definition
	// Exporters get the result, in order.
	Exporters []ExporterRequest
	// CacheExports and CacheImports name remote caches.
	CacheExports, CacheImports []CacheRequest
	// Entitlements are what the client allows the build.
	Entitlements []string
	// SessionExporter lets the client choose more exporters when it knows the
	// result, and object to what they made.
	SessionExporter bool
	// SourcePolicy, optional, decides what the build may take its bytes from.
	SourcePolicy *spb.Policy
	// PolicySession, if set, is the session of the client's verifier, which
	// decides after SourcePolicy.
	PolicySession string
	// ProxyNetwork puts the steps of the build that use the network behind the
	// recording proxy.
	ProxyNetwork bool
	// CompatibilityVersion is the version of behaviour that the client wants
	// (solver.Compatibility10 and so on); 0 is the newest.
	CompatibilityVersion int
	// Internal builds leave no history.
	Internal bool
}

// ExporterRequest asks for one output.
type ExporterRequest struct {
	Type  string
	Attrs map[string]string
}

// CacheRequest names a remote cache.
type CacheRequest struct {
	Type  string
	Attrs map[string]string
}

// Response is what a successful build returns.
type Response struct {
	// Values are the exporters' answers by name.
	Values map[string]string
}

// Record is what observers learn of a build.
type Record struct {
	Request *Request
	Started time.Time
	// Completed is zero while the build runs.
	Completed time.Time
	Err       error
	Response  *Response
	// Steps count distinct vertices.
	Steps Steps
	// Outputs has what each exporter made, by its number in the request. It is
	// there until all observers were told.
	Outputs map[int]ocispecs.Descriptor
	// Metadata of the result by name; Predicates are what is said about it.
	Metadata   map[string][]byte
	Predicates []Predicate
}

// Steps count the vertices of a build.
type Steps struct {
	Total, Completed, Cached, Warnings int
}

// counter counts distinct vertices as events pass.
type counter struct {
	total, completed, cached map[digest.Digest]struct{}
	warnings                 int
}

func newCounter() *counter {
	return &counter{
		total: map[digest.Digest]struct{}{}, completed: map[digest.Digest]struct{}{}, cached: map[digest.Digest]struct{}{},
	}
}

func (c *counter) steps() Steps {
	return Steps{Total: len(c.total), Completed: len(c.completed), Cached: len(c.cached), Warnings: c.warnings}
}
