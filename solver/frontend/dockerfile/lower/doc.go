// Package lower turns the stages of a Dockerfile into a graph and an image
// configuration. It promises that the same file, options and base images give
// the same graph, op for op, and the same configuration; that only stages
// which the target needs are resolved and lowered; and that the work is bounded
// whatever the file says.
//
// # Vocabulary
//
//   - stage: a FROM with its instructions. A foreign stage is an image or
//     context that a COPY or a mount names without a FROM.
//   - node: a step of the plan, what an op will be, with references to the
//     nodes it reads. The nil node is the empty file system.
//   - base: what a stage starts from, an earlier stage, an image, a named
//     context or nothing.
//   - Resolver: all that the package needs from the world.
//
// # Lifecycle
//
// A conversion goes through these phases, each over all stages:
//
//	declare   a stage for every FROM, its base's name and platform expanded
//	bind      COPY --from and mounts tied to stages; circles refused
//	resolve   bases looked up, concurrently; triggers in base images may add
//	          instructions to bind and bases to look up, so this repeats
//	lower     stage by stage, instruction by instruction: nodes and
//	          configuration
//	write     the nodes that the target needs become a graph
//
// The plan stands between instructions and graph because what a client has to
// send of its context is only known when every stage was lowered.
//
// # Errors
//
// Errors carry the lines of the instruction or of the FROM they are about (see
// syntax.Places). Texts are those that Dockerfile users know.
//
// # Bounds
//
// A few lines can stand for gigabytes: variables that double, long
// environments in thousands of steps, patterns repeated for each source. All
// that a conversion produces is paid for from one budget; stages, mounts and
// ports have limits of their own.
//
// # Concurrency
//
// One conversion is for one platform and runs in one goroutine but for the
// resolution of bases. Conversions of one parsed file may run at the same time.
//
// # What it does not do
//
// It solves nothing and reads no files: what COPY finds is found out when the
// graph runs.
package lower
