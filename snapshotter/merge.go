package snapshotter

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// MergeCap is the capability a host advertises for this snapshotter beside
// containerd's own: Prepare and View obey the labels of WithSpans. A caller
// must not send them to a snapshotter without it, which would ignore them.
const MergeCap = "kiln-merge"

const (
	// labelSpans is followed by a running number from 0. The prefix is one
	// that containerd's metadata layer and proxies hand through.
	labelSpans = "containerd.io/snapshot/kiln.spans."
	// maxSpanLabel keeps key and value below containerd's 4096 bytes a label.
	maxSpanLabel = 3 << 10
)

// Span is a run of consecutive layers of one committed snapshot's chain: from
// Upper, included, down to Lower, excluded. Lower is an ancestor of Upper, or
// "" for the whole chain. A whole chain is an input of a merge; the rest of a
// chain above an ancestor is the difference between the two.
//
// Names are those the caller uses for snapshots. Through containerd that is the
// name within the caller's namespace, and only that namespace is looked at.
type Span struct {
	Upper string
	Lower string
}

// Merger creates snapshots out of several chains without copying. Merge does
// it on any snapshotter in front of this one as well.
type Merger interface {
	// Merge is the function Merge on this snapshotter.
	Merge(ctx context.Context, key string, spans []Span, opts ...snapshots.Opt) ([]mount.Mount, error)
}

var _ Merger = (*Snapshotter)(nil)

// Merge creates an active snapshot whose content is that of the spans applied
// one after the other. See the function Merge.
func (s *Snapshotter) Merge(ctx context.Context, key string, spans []Span, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return Merge(ctx, s, key, spans, opts...)
}

// Merge creates an active snapshot, by Prepare, whose content is that of the
// spans applied one after the other: where two disagree, the later one wins.
// Nothing is copied; the lower directories are put on top of each other. The
// snapshot behaves like any other: it can be written to, committed, and be a
// parent, and its usage is its own layer's. No snapshot named as Upper can be
// removed before it. Errors are those of Prepare; InvalidArgument if a Lower
// is not an ancestor of its Upper.
//
// When the first span is a whole chain, that snapshot is also the parent, so
// that containerd knows about it. containerd's garbage collector does not know
// about the others: the caller keeps them with leases or gc.ref labels.
func Merge(ctx context.Context, sn snapshots.Snapshotter, key string, spans []Span, opts ...snapshots.Opt) ([]mount.Mount, error) {
	parent := ""
	if len(spans) > 0 && spans[0].Lower == "" {
		parent, spans = spans[0].Upper, spans[1:]
	}
	return sn.Prepare(ctx, key, parent, append(slices.Clone(opts), WithSpans(spans...))...)
}

// WithSpans makes Prepare or View put spans on top of the parent, in order. It
// works through containerd's metadata layer and through proxies, since the
// spans travel as labels.
func WithSpans(spans ...Span) snapshots.Opt {
	return func(info *snapshots.Info) error {
		labels, err := spanLabels(spans)
		if err != nil {
			return err
		}
		return snapshots.WithLabels(labels)(info)
	}
}

// spanLabels writes spans as JSON arrays of [upper, lower], as many per label
// as fit.
func spanLabels(spans []Span) (map[string]string, error) {
	labels := map[string]string{}
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			labels[labelSpans+strconv.Itoa(len(labels))] = b.String() + "]"
			b.Reset()
		}
	}
	for _, span := range spans {
		one, err := json.Marshal([2]string{span.Upper, span.Lower})
		if err != nil {
			return nil, fmt.Errorf("encode span: %w", err)
		}
		if b.Len()+len(one)+2 > maxSpanLabel {
			flush()
		}
		if b.Len() == 0 {
			b.WriteByte('[')
		} else {
			b.WriteByte(',')
		}
		b.Write(one)
	}
	flush()
	return labels, nil
}

// spansOf reads the spans out of a new snapshot's labels, which come from
// clients.
func spansOf(labels map[string]string) ([]Span, error) {
	var spans []Span
	n := 0
	for ; ; n++ {
		v, ok := labels[labelSpans+strconv.Itoa(n)]
		if !ok {
			break
		}
		var pairs [][]string
		if err := json.Unmarshal([]byte(v), &pairs); err != nil {
			return nil, fmt.Errorf("spans label %d: %w: %w", n, err, errdefs.ErrInvalidArgument)
		}
		for _, pair := range pairs {
			if len(pair) != 2 || pair[0] == "" {
				return nil, fmt.Errorf("spans label %d: want [upper, lower]: %w", n, errdefs.ErrInvalidArgument)
			}
			spans = append(spans, Span{Upper: pair[0], Lower: pair[1]})
		}
		if len(spans) > MaxLayers {
			return nil, fmt.Errorf("more than %d spans: %w", MaxLayers, errdefs.ErrOutOfRange)
		}
	}
	// A gap would drop layers silently.
	for name := range maps.Keys(labels) {
		if i, ok := strings.CutPrefix(name, labelSpans); ok {
			if v, err := strconv.Atoi(i); err != nil || v < 0 || v >= n || strconv.Itoa(v) != i {
				return nil, fmt.Errorf("label %q: the numbers go from 0 without gaps: %w", name, errdefs.ErrInvalidArgument)
			}
		}
	}
	return spans, nil
}

// resolveSpans finds the layers of each span, the uppermost first, and the
// numbers of all upper ends. key is the name of the new snapshot: if it is one
// of containerd's metadata layer, so must the others be, in the same namespace.
// Otherwise a client of one namespace could mount the layers of another.
func resolveSpans(tx *storeTx, key string, spans []Span) (runs [][]uint64, refs []uint64, err error) {
	for _, span := range spans {
		upper, err := spanEnd(tx, key, span.Upper)
		if err != nil {
			return nil, nil, fmt.Errorf("upper end of span: %w", err)
		}
		lower, err := spanEnd(tx, key, span.Lower)
		if err != nil {
			return nil, nil, fmt.Errorf("lower end of span: %w", err)
		}
		run := upper
		if len(lower) > 0 {
			at := slices.Index(upper, lower[0])
			// More than the one layer must agree: in a chain that is itself a
			// merge, a layer can have others below than it has of its own.
			if at < 0 || !slices.Equal(upper[at:], lower) {
				return nil, nil, fmt.Errorf("span: %q is not an ancestor of %q: %w", span.Lower, span.Upper, errdefs.ErrInvalidArgument)
			}
			run = upper[:at]
		}
		runs, refs = append(runs, run), append(refs, upper[0])
	}
	return runs, refs, nil
}

func spanEnd(tx *storeTx, key, name string) ([]uint64, error) {
	if namespace, _, _, ok := splitBackendName(key); ok && name != "" {
		full := tx.newest(namespace, name)
		if full == "" {
			return nil, fmt.Errorf("snapshot %q in namespace %q: %w", name, namespace, errdefs.ErrNotFound)
		}
		name = full
	}
	return chain(tx, name)
}

// stackRuns puts runs on top of each other, the last one uppermost. A layer
// that occurs more than once is kept at its uppermost place, which changes
// nothing: whatever the lower occurrence adds, hides or deletes, the upper one
// adds, hides or deletes again, after everything in between. (Overlay refuses
// the same directory twice.)
func stackRuns(runs [][]uint64) []uint64 {
	var stack []uint64
	seen := map[uint64]bool{}
	for _, run := range slices.Backward(runs) {
		for _, id := range run {
			if !seen[id] {
				seen[id] = true
				stack = append(stack, id)
			}
		}
	}
	return stack
}
