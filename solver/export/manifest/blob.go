package manifest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
)

// refLabel is followed by a number: containerd's collector keeps what such a
// label names for as long as the blob with the label.
const refLabel = "containerd.io/gc.ref.content."

// write stores a blob that refers to children. The same bytes may be there from
// elsewhere without the labels, so those are checked afterwards.
func (a *Assembler) write(ctx context.Context, mediaType string, data []byte, children []ocispecs.Descriptor) (ocispecs.Descriptor, error) {
	desc := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	labels := make(map[string]string, len(children))
	for i, c := range children {
		labels[refLabel+strconv.Itoa(i)] = c.Digest.String()
	}
	err := content.WriteBlob(ctx, a.Content, "kiln-export-"+desc.Digest.String(), bytes.NewReader(data), desc, content.WithLabels(labels))
	if err != nil {
		return desc, fmt.Errorf("write %s %s: %w", mediaType, desc.Digest, err)
	}
	info, err := a.Content.Info(ctx, desc.Digest)
	if err != nil {
		return desc, fmt.Errorf("write %s %s: %w", mediaType, desc.Digest, err)
	}
	var missing []string
	for k, v := range labels {
		if info.Labels[k] != v {
			missing = append(missing, "labels."+k)
		}
	}
	if len(missing) == 0 {
		return desc, nil
	}
	if _, err := a.Content.Update(ctx, content.Info{Digest: desc.Digest, Labels: labels}, missing...); err != nil {
		return desc, fmt.Errorf("label %s %s: %w", mediaType, desc.Digest, err)
	}
	return desc, nil
}

// status starts an activity that is named after what it makes: the returned
// function reports it once the digest is known.
func status(env solver.Env, prefix string) func(digest.Digest) {
	started := time.Now()
	return func(d digest.Digest) {
		now := time.Now()
		env.Emit(solver.Event{Status: &solver.StatusEvent{ID: prefix + d.String(), Timestamp: now, Started: &started, Completed: &now}})
	}
}
