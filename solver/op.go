package solver

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Op is the meaning of a vertex. An Op must be safe for concurrent use; the
// graph calls Keys at most once and Run at most once at a time for a vertex
// that several builds share.
//
// A scenario: a step "RUN make" answers Keys with the digest of its command
// and, for its read-only source mount, a ContentFunc. The graph resolves the
// mount's input, calls the ContentFunc with it, finds no record under the key
// that results, and calls Run with one Result for each input.
type Op interface {
	// Keys returns the identity of the op without its inputs. It may do I/O,
	// such as asking a registry for the digest behind a tag.
	Keys(ctx context.Context, env Env) (KeySpec, error)
	// Run performs the op and returns one Result for each output (nil for an
	// empty file system). Inputs stay owned by the caller; returned results
	// are owned by the caller too. An error that reports the op's own failure
	// is returned as it is: the graph adds the vertex.
	Run(ctx context.Context, env Env, inputs []Result) ([]Result, error)
}

// Joiner is an Op with settings that change neither its key nor its result,
// how much memory it may use, say, and that builds may want otherwise for the
// same vertex. The graph keeps the Op of the first build and hands it those of
// the others.
type Joiner interface {
	// Join takes the settings of an equal Op into account, if it is not too
	// late. It must be quick and safe while Run runs.
	Join(other Op)
}

// KeySpec is an op's answer to Keys.
type KeySpec struct {
	// Digest is the identity of the op itself, inputs left out.
	Digest digest.Digest
	// Content, if set, is a more telling identity of the output than Digest
	// and equally known without running (an image's chain of layers, say).
	// Keys of dependents are built on it; lookups try both.
	Content digest.Digest
	// Volatile says that Digest must not be remembered after the process ends
	// or be told to others: it names something like "what client 7 has on its
	// disk now". Dependents then rely on Content or on ContentFuncs.
	Volatile bool
	// Inputs has one entry for each input of the vertex.
	Inputs []InputKey
}

// InputKey says how an input takes part in the key of its dependent.
type InputKey struct {
	// Selector narrows the input, for example to a path; part of the key.
	Selector digest.Digest
	// Content, if set, makes the final key depend on what the input contains
	// and not on how it was made.
	Content ContentFunc
}

// ContentFunc returns the digest of what an op will see of an input. It must
// depend on nothing but the input's bytes and the op's own definition.
type ContentFunc func(ctx context.Context, env Env, input Result) (digest.Digest, error)

// Env is what a running op may know of the builds that want it. Its answers
// may change while the op runs, as builds join and leave.
type Env interface {
	// Sessions returns the ids of the client sessions of the interested
	// builds, most suitable first. It may be empty.
	Sessions() []string
	// Emit reports progress of this vertex. Events need no Vertex digest: it
	// is filled in. It never blocks for long and never fails.
	Emit(Event)
}

// Result is a held value on an edge. Every holder has its own Result and
// releases it once; the value lives as long as any hold or record of it.
type Result interface {
	// ID names the value itself; equal ids mean the same value. A Cache finds
	// the value again by it.
	ID() string
	// Clone returns another hold on the value.
	Clone() Result
	// Release gives the hold up. It is safe to call more than once.
	Release(ctx context.Context) error
}
