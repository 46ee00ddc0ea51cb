package style

// Limit bounds a number measured per place.
type Limit struct {
	// P95 bounds the 95th percentile over production code; 0 sets no bound.
	P95 int
	// Max bounds every single value, tests included.
	Max int
}

// The measurable bar.
var (
	// FileLines bounds the lines of a file.
	FileLines = Limit{P95: 450, Max: 800}
	// FunctionLines bounds a function from "func" to its closing brace.
	FunctionLines = Limit{P95: 60, Max: 120}
	// Cyclomatic bounds the branches of a function.
	Cyclomatic = Limit{P95: 11, Max: 30}
	// Parameters bounds the parameters of a function, receiver not counted.
	Parameters = Limit{Max: 6}
	// InterfaceMethods bounds the methods an interface lists itself.
	InterfaceMethods = Limit{Max: 5}
)

// Comments bounds the share of comment lines among all lines of production
// files, in percent: less does not say why, more says what.
var Comments = struct{ Min, Max float64 }{14, 20}

// wideInterfaces may list more methods than the bar allows, each with the
// reason; the key is FOLDER.NAME.
var wideInterfaces = map[string]string{}

// foreignSignatures are functions whose parameters another module dictates,
// each with the type that does; the key is FOLDER.NAME.
var foreignSignatures = map[string]string{
	"solver/rpcerr.UnaryClient": "grpc.UnaryClientInterceptor",
}

// badNames are package and folder names that say nothing about their content.
var badNames = map[string]bool{"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "misc": true}

// detached are production files that may start a fresh context, each with the
// reason. Programs and the test tree may do so anywhere.
var detached = map[string]string{}

// unfinished are comment words of work that is not done.
var unfinished = []string{"TODO", "FIXME", "XXX", "HACK"}
