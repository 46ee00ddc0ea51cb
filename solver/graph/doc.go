// Package graph decides what must run. It promises that a build gets the right
// result by the cheapest way known, that the same work wanted by several builds
// at once is done once, and that no schedule waits for ever. It is pure logic:
// no I/O, no wire types, nothing of containerd.
//
// # Vocabulary
//
//   - Job: one build's interest. It attaches every vertex it asks about.
//   - Node: a vertex at work, shared by all jobs that attach it. Vertices that
//     ignore the cache, and those above them, are nodes of their own, so that a
//     build that asks for fresh work never gets another's old one.
//   - Stage: one memoised question about a node, or about one of its outputs.
//   - Flight: what a stage is made of: a computation with counted interest.
//   - Definition key: how a value is made, all the way down.
//   - Final key: the same, with the contents of inputs where contents matter.
//   - Cache of a job: asked for what the Solver's own lacks, see JobConfig.
//   - Run: one performance of an op, shared by nodes with equal final keys.
//
// # Stages
//
// Arrows point from a stage to those it waits for; "inputs" are the same stages
// of the vertices below. All waiting goes down the graph or along this picture,
// both without circles. A run waits for nothing but its op: nodes that share it
// come with their inputs resolved.
//
//	value ──► probe ──────► definition ──► keys
//	  │         ▲               └────────► inputs' definition
//	  │       final ◄── composed and named of dependents
//	  │         │
//	  ├───────► known ─────► named ──► keys, inputs' final (all of them)
//	  ├───────► composed ──► keys, inputs' final;
//	  │                      inputs' value where content matters
//	  ├───────► ready ─────► keys, inputs' value (all of them)
//	  └───────► made ──────► ready, definition, then the shared run
//
// "value" tries in this order: the record under the definition key; the record
// under the final keys of all inputs, none of which is looked into; the record
// under the final key; the record under the final key that the resolved inputs
// really give, should it differ; running the op. A record that cannot be loaded
// counts as absent. Results are stored under the final key that their inputs
// really had, and under the other two.
//
// # Flights
//
//	       first ticket            value
//	idle ───────────────► running ───────► done
//	 ▲ ▲                   │ ▲  │ error
//	 │ └── canceled error ─┘ │  └────────► failed ──► idle
//	 │      last ticket left │ somebody         (a new job)
//	 │              ▼        │ came back
//	 └────────── unwinding ──┘      any ──► closed
//
// Errors are memoised for the jobs that were attached when they happened; a job
// that attaches later makes failed stages idle. Cancellations are never
// memoised. A computation gets a context that ends when nobody waits for it.
//
// # IgnoreCache
//
// A vertex that ignores the cache runs, and so does every vertex whose final
// key is built on its key. A dependent that looks at its content is looked up
// as always. No record is looked up by definition above such a vertex, because
// that would hide that it has to run.
//
// # Progress
//
// Vertices are announced when Build is called. A vertex shows an interval while
// its op runs or its result is loaded, and, if it has no inputs and says
// something, while it finds its keys. When it starts or is found in the cache,
// what is below and neither done nor at work is shown as cached. A job that
// joins late is told what happened before.
//
// # Lifecycle of results
//
// A node holds the results of its stages until the last job that attached it
// closes; each waiter gets a hold of its own. Holds are balanced: when all jobs
// are closed and all computations have returned, none is left.
//
// # Concurrency
//
// Everything exported is safe for concurrent use. Each running stage is a
// goroutine; Solver.Wait waits for all of them. How many ops may run at once is
// for the ops to say, because only they know what they use.
//
// # Ahead
//
// Whether a vertex with several inputs is needed may stay unknown for long: the
// content of one input decides, and it is still on its way from a client. With
// Config.Ahead an input that has no record is started meanwhile, so that an
// image is pulled and the steps before a COPY run while the context arrives.
// Such an input is almost always needed: for its dependents to be found in the
// cache their record must have outlived its own. If it is not, it is cancelled
// when the last job that attached it closes.
package graph
