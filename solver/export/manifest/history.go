package manifest

import (
	"slices"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/ref"
)

const (
	// historyComment marks entries that the frontend did not write; tools know
	// them by it.
	historyComment = "buildkit.exporter.image.v0"
	// undescribed stands for a step nobody described.
	undescribed = "created by kiln"
)

// completeHistory returns a history with exactly one entry that is not empty
// for each layer, and with a time for each entry if any is known.
func completeHistory(history []ocispecs.History, layers []ref.Layer) []ocispecs.History {
	out := slices.Clone(history)
	if out == nil {
		out = []ocispecs.History{}
	}
	n := 0
	for i := range out {
		h := &out[i]
		if h.EmptyLayer {
			continue
		}
		if n == len(layers) {
			// The configuration claims a layer too many.
			h.EmptyLayer = true
			continue
		}
		if h.Created == nil {
			h.Created = layers[n].CreatedAt
		}
		n++
	}
	for _, l := range layers[n:] {
		h := ocispecs.History{Created: l.CreatedAt, CreatedBy: l.Description, Comment: historyComment}
		if h.CreatedBy == "" {
			h.CreatedBy = undescribed
		}
		out = append(out, h)
	}
	fillTimes(out)
	return out
}

// fillTimes gives entries without a time that of the step before them. Those
// right after the base image get the time of the first new step instead: the
// base may be years old.
func fillTimes(history []ocispecs.History) {
	gap := slices.IndexFunc(history, func(h ocispecs.History) bool { return h.Created == nil })
	if gap < 0 {
		return
	}
	var at *time.Time
	if gap > 0 {
		at = history[gap-1].Created
	}
	for _, h := range history[gap:] {
		if h.Created != nil {
			at = h.Created
			break
		}
	}
	for i := gap; i < len(history); i++ {
		if history[i].Created == nil {
			history[i].Created = at
		}
		at = history[i].Created
	}
}

// boundHistory sets later times, and missing ones, to epoch. Entries taken over
// from the base image keep theirs: they are the same in every build.
func boundHistory(history, base []ocispecs.History, epoch time.Time) {
	inherited := true
	for i := range history {
		h := &history[i]
		inherited = inherited && i < len(base) && sameHistory(*h, base[i])
		if !inherited && (h.Created == nil || h.Created.After(epoch)) {
			h.Created = &epoch
		}
	}
}

func sameHistory(a, b ocispecs.History) bool {
	if (a.Created == nil) != (b.Created == nil) || a.Created != nil && !a.Created.Equal(*b.Created) {
		return false
	}
	a.Created, b.Created = nil, nil
	return a == b
}
