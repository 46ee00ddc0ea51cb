package build

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/statuspb"
)

// Names of the aux values of version 2.
const (
	auxTrace = "moby.buildkit.trace"
	auxImage = "moby.image.id"
)

// traced builds and answers with the events.
func (j *job) traced(ctx context.Context, stream *route.Stream) error {
	resp, err := j.run(ctx, j.request(), func(b *progress.Batch) error {
		data, err := proto.Marshal(statuspb.FromBatch(b))
		if err != nil {
			return fmt.Errorf("encode events: %w", err)
		}
		if j.quiet {
			return nil
		}
		return stream.Send(route.Message{ID: auxTrace, Aux: data})
	})
	if err != nil {
		return fail(stream, err, 0)
	}
	id := imageID(resp)
	if id == "" {
		return nil
	}
	if j.quiet {
		_, err := fmt.Fprintln(stream, id)
		return err
	}
	return stream.Send(route.Message{ID: auxImage, Aux: result{id}})
}
