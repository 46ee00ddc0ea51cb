// Package lower turns the stages of a Dockerfile into a graph and an image
// configuration.
//
// The promise: the same file, options and base images give the same graph, op
// for op, and the same configuration; only stages that the target needs are
// resolved and lowered; and the work is bounded whatever the file says (see
// budget).
//
// Vocabulary. A stage is a FROM with its instructions. It is resolved when its
// base is known (an earlier stage, an image, a named context or nothing) and
// lowered when each of its instructions has become steps. A step is a node of
// the plan: what an op will be, with references to the nodes it reads. The plan
// is written as LLB at the very end, because what a client has to send of its
// context is only known when every stage was lowered.
//
// Lifecycle of a conversion: declare the stages, tie them together by name
// (binding), resolve the bases that are needed (concurrently; triggers in base
// images may add stages to tie and resolve), lower stage by stage, write the
// graph.
//
// Resolver is all that the package needs from the world. One conversion is for
// one platform and runs in one goroutine but for the resolution of bases;
// conversions of one parsed file may run at the same time.
package lower
