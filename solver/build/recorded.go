package build

import (
	"context"

	"github.com/containerd/log"
)

// Recorder is an Attester that has something to say for the record as well,
// whatever the request asks for.
type Recorder interface {
	// Record returns predicates about a build that is over, whether or not its
	// exports came to an end.
	Record(ctx context.Context, b *Built) ([]Predicate, error)
}

// Predicate is something said about one part of a result.
type Predicate struct {
	// Platform is the part's key; empty if there is only one.
	Platform string
	// Type of the predicate, a URI.
	Type string
	// Data returns the predicate (JSON). It can be called when the build and
	// all it held are gone.
	Data func() ([]byte, error)
}

// record asks the attesters what they say for the record. A build that is over
// does not fail for that.
func (j *job) record(ctx context.Context, b *Built) []Predicate {
	if b == nil || j.request.Internal {
		return nil
	}
	var out []Predicate
	for _, a := range j.builder.cfg.Attesters {
		r, ok := a.(Recorder)
		if !ok {
			continue
		}
		said, err := r.Record(ctx, b)
		if err != nil {
			log.G(ctx).WithError(err).Errorf("record of build %s", j.id)
		}
		out = append(out, said...)
	}
	return out
}
