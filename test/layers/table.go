package layers

// Module is the path of the module whose packages the table governs.
const Module = "github.com/kilnbuild/kiln"

// Room is one line of the import table. All paths are relative to Module and
// cover the folders below them; a trailing "!" limits a path to the very
// package it names.
type Room struct {
	// Path names the room.
	Path string
	// Row is the level: rooms with a smaller number may be imported.
	Row int
	// Siblings are rooms of the same row that may be imported all the same.
	Siblings []string
	// Only, when not nil, is the complete list of rooms that may be imported
	// directly; rows and Siblings do not widen it.
	Only []string
	// Not lists rooms that stay closed although their row is smaller.
	Not []string
	// External, when not nil, is the complete list of import path prefixes
	// outside the module and the standard library.
	External []string
	// NotExternal lists import path prefixes (standard library included)
	// that the room's own packages must not name.
	NotExternal []string
	// Reason tells the author of a rejected import why it is rejected.
	Reason string
}

// Fence limits everything a room reaches, however long the way.
type Fence struct {
	// Path names the room the fence stands around.
	Path string
	// Not lists what must not be reached: rooms, or import path prefixes
	// when they contain a dot in their first element.
	Not []string
	// MaxInternal, when positive, bounds how many packages of this module
	// the package at Path (without its sub-folders) pulls in.
	MaxInternal int
	// Reason is printed with the path that crosses the fence.
	Reason string
}

// Banned are import path prefixes no package names, tests included, and no
// production package reaches through a dependency.
var Banned = map[string]string{
	"github.com/moby/buildkit": "the wire names are registered once per process and Go panics on the second; " +
		"the engine is what this project exists to write. Real clients take part in tests as processes",
	"github.com/tonistiigi/fsutil": "the file transfer protocol is written here; see solver/session",
}

const (
	reasonSibling  = "rooms of one row do not know each other; meet in a row below or pass a value"
	reasonContract = "an implementation knows its own contract and what lies above, never another implementation"
	reasonOp       = "an op knows the one contract it drives; which implementation runs is the composition root's choice"
)

// Rooms is the import table of the house plan, top row first.
var Rooms = []Room{
	// Row 0: what is written on the wire, and the nouns of the engine.
	{Path: "solver/pb", Row: 0,
		External: []string{"google.golang.org/protobuf", "google.golang.org/grpc", "google.golang.org/genproto/googleapis/rpc"},
		Reason:   "generated wire code and nothing else, so that every room can import it"},
	{Path: "solver/pb/internal/generate", Row: 0, Siblings: []string{"solver/pb"},
		Reason: "the generator of the wire code is a tool, not part of it"},
	{Path: "solver!", Row: 0, Only: []string{},
		External: []string{"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec"},
		Reason:   "the contracts are plain values: a room that imports solver must not drag anything else in"},

	// Row 1: the graph as data, and what is said about a build.
	{Path: "solver/llb", Row: 1, Reason: reasonSibling},
	{Path: "solver/progress", Row: 1, Reason: reasonSibling},
	{Path: "solver/policy", Row: 1, Siblings: []string{"solver/rpcerr"},
		Reason: "a policy decides about values of the wire; its refusals travel to the client with their reasons"},
	{Path: "solver/rpcerr", Row: 1, Siblings: []string{"solver/llb"}, Reason: "errors on the wire know the contracts and nothing that fails"},
	{Path: "solver/trace", Row: 1, Only: []string{}, Reason: "traces know what OpenTelemetry says and nothing of builds"},
	{Path: "solver/statuspb", Row: 1, Siblings: []string{"solver/progress", "solver/rpcerr", "solver/llb"},
		Reason: "events on the wire are progress and its warnings, translated both ways"},

	{Path: "solver/llb/compose", Row: 1, Siblings: []string{"solver/llb"}, Reason: "writing graphs builds on reading them, never the other way round"},
	{Path: "safebolt", Row: 1, Only: []string{}, Reason: "a database knows nothing of what is stored in it"},
	{Path: "differ/layerindex", Row: 1, Only: []string{},
		Reason: "the layer index is a format: its writers and readers meet here, so it knows none of them"},

	// Row 2: scheduling, memory, the client's side, and bytes on disk.
	{Path: "solver/graph", Row: 2, Not: []string{"solver/pb"},
		External:    []string{"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec", "golang.org/x/sync"},
		NotExternal: []string{"os", "net", "io/fs", "syscall"},
		Reason:      "the scheduler does no I/O and knows neither protobuf nor containerd, so that it can be tested with thousands of random graphs"},
	{Path: "solver/cache", Row: 2, Reason: reasonSibling},
	{Path: "solver/session", Row: 2, Reason: reasonSibling},
	{Path: "solver/ref", Row: 2, Reason: reasonSibling},
	{Path: "solver/registry", Row: 2, Siblings: []string{"solver/session"},
		Reason: "image sources read from registries and image exporters write to them: the way there (hosts, certificates, " +
			"the clients' credentials) is below both and knows neither refs nor builds"},
	{Path: "snapshotter", Row: 2, Only: []string{"differ/layerindex", "safebolt"},
		Reason: "a containerd snapshotter that anyone can serve; it never knows the solver"},
	{Path: "differ", Row: 2, Only: []string{"differ/layerindex", "safebolt"},
		Reason: "a containerd differ that anyone can serve; it never knows the solver"},

	// Row 3: contracts and their implementations.
	{Path: "solver/executor", Row: 3, Reason: "a contract knows no other contract and none of its implementations"},
	{Path: "solver/executor/netns", Row: 3, Only: []string{}, Reason: "namespaces know nothing of who is in them"},
	{Path: "solver/executor/network", Row: 3, Siblings: []string{"solver/executor", "solver/executor/netns"}, Reason: reasonContract},
	{Path: "solver/executor/proxynet", Row: 3, Siblings: []string{"solver/executor", "solver/executor/netns"}, Reason: reasonContract},
	{Path: "solver/executor/runc", Row: 3, Siblings: []string{"solver/executor"}, Reason: reasonContract},
	{Path: "solver/executor/cdi", Row: 3, Siblings: []string{"solver/executor"}, Reason: reasonContract},
	{Path: "solver/executor/emulate", Row: 3, Reason: "what a kernel can run is known without any container"},
	{Path: "solver/source", Row: 3, Reason: "a contract knows no other contract and none of its implementations"},
	{Path: "solver/source/image", Row: 3, Siblings: []string{"solver/source"}, Reason: reasonContract},
	{Path: "solver/source/layout", Row: 3, Siblings: []string{"solver/source", "solver/source/image"},
		Reason: "a layout is an image that comes from a client's directory instead of a registry: only where the bytes come from differs"},
	{Path: "solver/source/signature", Row: 3, Reason: "what signatures mean is known without any source"},
	{Path: "solver/source/singlefile", Row: 3, Reason: "a layer with one file in it is the same wherever its bytes come from"},
	// A bundle of a repository is a blob; where blobs come from is known in one place.
	{Path: "solver/source/git", Row: 3, Siblings: []string{"solver/source", "solver/source/signature", "solver/source/blob"}, Reason: reasonContract},
	{Path: "solver/source/http", Row: 3, Siblings: []string{"solver/source", "solver/source/signature", "solver/source/singlefile"},
		Reason: reasonContract},
	{Path: "solver/source/local", Row: 3, Siblings: []string{"solver/source"}, Reason: reasonContract},
	{Path: "solver/source/blob", Row: 3, Siblings: []string{"solver/source", "solver/source/layout", "solver/source/singlefile"},
		Reason: "a blob comes from a registry or from a client's layout, and becomes one file"},
	{Path: "solver/source/sourcetest", Row: 3,
		Reason: "tests of sources stand on the same parts as they do; production code never imports it"},
	{Path: "solver/export", Row: 3, Reason: "a contract knows no other contract and none of its implementations"},
	// Images in the store and images in archives are made of the same blobs,
	// so what makes them stands between the contract and both.
	{Path: "solver/export/manifest", Row: 3, Siblings: []string{"solver/export", "solver/export/attest"},
		Reason: "assembling an image knows the contract and nothing of where the image goes"},
	{Path: "solver/export/image", Row: 3, Siblings: []string{"solver/export", "solver/export/manifest"}, Reason: reasonContract},
	{Path: "solver/export/archive", Row: 3, Siblings: []string{"solver/export", "solver/export/manifest"}, Reason: reasonContract},
	{Path: "solver/export/files", Row: 3, Siblings: []string{"solver/export", "solver/export/attest"}, Reason: reasonContract},
	// Statements are the same wherever they are written.
	{Path: "solver/export/attest", Row: 3, Siblings: []string{"solver/export"},
		Reason: "reading attestations knows the contract and nothing of where statements go"},
	{Path: "solver/export/exporttest", Row: 3, Siblings: []string{"solver/export"},
		Reason: "tests of exporters stand on the same parts as they do; production code never imports it"},

	// Row 4: what running a vertex means, and who writes graphs.
	{Path: "solver/op!", Row: 4, Reason: "what all ops share knows none of them"},
	{Path: "solver/op/exec", Row: 4, Siblings: []string{"solver/op!"},
		Not: []string{"solver/source", "solver/export", "solver/executor/runc", "solver/executor/cdi", "solver/executor/emulate"}, Reason: reasonOp},
	{Path: "solver/op/source", Row: 4, Siblings: []string{"solver/op!"},
		Not: append([]string{"solver/executor", "solver/export"}, sourceImplementations...), Reason: reasonOp},
	{Path: "solver/op/file", Row: 4, Siblings: []string{"solver/op!"}, Not: contracts, Reason: reasonOp},
	{Path: "solver/op/build", Row: 4, Siblings: []string{"solver/op!"}, Not: contracts, Reason: reasonOp},
	{Path: "solver/op/passthrough", Row: 4, Siblings: []string{"solver/op!"}, Not: contracts, Reason: reasonOp},
	{Path: "solver/op/merge", Row: 4, Siblings: []string{"solver/op!"}, Not: contracts, Reason: reasonOp},
	{Path: "solver/op/diff", Row: 4, Siblings: []string{"solver/op!"}, Not: contracts, Reason: reasonOp},
	{Path: "solver/cache/remote", Row: 4, Reason: reasonSibling},
	{Path: "solver/frontend", Row: 4, Reason: "the frontend contract knows no frontend"},
	{Path: "solver/frontend/gateway", Row: 4, Siblings: []string{"solver/frontend"}, Reason: reasonSibling},
	{Path: "solver/frontend/gateway/image", Row: 4, Siblings: []string{"solver/frontend", "solver/frontend/gateway"},
		Reason: "a frontend image is one more frontend; it starts its container through the bridge"},
	{Path: "solver/frontend/gateway/guest", Row: 4, Siblings: []string{"solver/frontend"},
		Only:   []string{"solver/frontend", "solver!", "solver/pb", "solver/llb", "solver/rpcerr"},
		Reason: "a frontend in an image carries the protocol and nothing of the engine"},
	{Path: "solver/frontend/sbom", Row: 4, Siblings: []string{"solver/frontend"}, Only: []string{"solver/frontend", "solver/llb/compose", "solver/pb/llb"},
		Reason: "scanning is composed of steps, by frontends that know no engine"},
	{Path: "solver/frontend/dockerfile", Row: 4, Siblings: []string{"solver/frontend/sbom"},
		Only: []string{"solver/frontend", "solver/frontend/sbom", "solver/llb/compose", "solver!", "solver/pb/llb"},
		// solver for the errors clients tell apart; pb/llb because compose
		// takes settings (network mode, limits) in the words of the wire. Both
		// are plain values; the fence below keeps the engine out.
		Reason: "the Dockerfile frontend must also build as a standalone frontend image"},

	// Row 5: one build, end to end, and who watches it.
	{Path: "solver/build", Row: 5, Reason: "a build emits events and knows none of its observers"},
	{Path: "solver/history", Row: 5, Siblings: []string{"solver/build"}, Reason: "an observer knows the build's events, not another observer"},
	{Path: "solver/scan", Row: 5, Siblings: []string{"solver/build"}, Reason: "who speaks about results knows builds, not others who do"},
	{Path: "solver/provenance", Row: 5, Siblings: []string{"solver/build"}, Reason: "an observer knows the build's events, not another observer"},

	// Row 6: the doors.
	{Path: "solver/control", Row: 6, Reason: reasonSibling},
	{Path: "dockerapi", Row: 6, Reason: "the Docker API reaches control's servers through a handler it is given"},

	// Row 7: the composition root.
	{Path: "plugin", Row: 7, Reason: "only programs import the composition root"},

	// Row 8: programs.
	{Path: "systemd", Row: 8, Only: []string{}, Reason: "talking to the service manager needs nothing of the builder"},
	{Path: "cmd/internal/buildinfo", Row: 8, Only: []string{}, Reason: "what a program is called needs nothing of it"},
	{Path: "cmd/internal/manual", Row: 8, Only: []string{}, Reason: "a manual is written from the commands it is given"},
	{Path: "cmd/kilnd", Row: 8, Siblings: []string{"systemd", "cmd/internal/buildinfo", "cmd/internal/manual"}, Reason: reasonSibling},
	{Path: "cmd/containerd-kiln", Row: 8, Siblings: []string{"systemd", "cmd/internal/buildinfo"}, Reason: reasonSibling},
	{Path: "cmd/kiln-dockerfile", Row: 8, Only: []string{"solver/frontend/dockerfile", "solver/frontend/gateway/guest"},
		Reason: "the frontend image holds the frontend and its side of the bridge"},
	{Path: "cmd/kiln", Row: 8, Siblings: []string{"cmd/internal/buildinfo", "cmd/internal/manual"},
		Not:    []string{"plugin", "solver/control", "solver/build", "solver/graph", "snapshotter", "differ", "dockerapi"},
		Reason: "the client speaks the wire; it does not link the daemon"},

	// Row 9: everything that only watches.
	{Path: "test", Row: 9, Reason: "tests are imported by tests only"},
	{Path: "examples", Row: 9, Reason: "examples are imported by nobody"},
}

// contracts are the row 3 rooms; an op that drives none of them lists all.
var contracts = []string{"solver/executor", "solver/source", "solver/export"}

// sourceImplementations are closed to the source op, which sees the contract.
var sourceImplementations = []string{
	"solver/source/image", "solver/source/layout", "solver/source/git",
	"solver/source/http", "solver/source/local", "solver/source/blob",
}

// contractReason is shared by the fences around the contract packages.
const contractReason = "a contract that pulls in half the tree cannot be implemented outside it (at most 5 internal packages)"

// Fences are the rules about everything a room reaches.
var Fences = []Fence{
	{Path: "solver/frontend/dockerfile",
		Not: []string{"solver/graph", "solver/cache", "solver/ref", "solver/executor", "solver/source", "solver/export",
			"solver/op", "snapshotter", "differ", "github.com/containerd/containerd/v2", "go.etcd.io/bbolt"},
		Reason: "the Dockerfile frontend must also build as a standalone frontend image, without the engine in it"},
	{Path: "cmd/kiln-dockerfile",
		Not: []string{"solver/graph", "solver/cache", "solver/ref", "solver/executor", "solver/source", "solver/export",
			"solver/op", "snapshotter", "differ", "github.com/containerd/containerd/v2", "go.etcd.io/bbolt"},
		Reason: "the frontend image must not carry the engine"},
	{Path: "solver/graph",
		Not:    []string{"solver/pb", "google.golang.org/protobuf", "google.golang.org/grpc", "github.com/containerd/containerd"},
		Reason: "the scheduler must be testable without protobuf and containerd"},
	{Path: "solver!", MaxInternal: 5, Reason: contractReason},
	{Path: "solver/executor!", MaxInternal: 5, Reason: contractReason},
	{Path: "solver/source!", MaxInternal: 5, Reason: contractReason},
	{Path: "solver/export!", MaxInternal: 5, Reason: contractReason},
}
