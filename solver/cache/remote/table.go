package remote

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/ref"
)

// maxStack bounds the layers of one result; overlay stacks 500.
const maxStack = 500

// maxMemo bounds how many answers a Table remembers.
const maxMemo = 100_000

// Annotations that describe a layer; wire format facts.
const (
	AnnotationCreatedAt   = "buildkit/createdat"
	AnnotationDescription = "buildkit/description"
	AnnotationDiffID      = labels.LabelUncompressed
)

// Blobs is where the blobs of an imported cache come from.
type Blobs interface {
	// Fetch returns the bytes of a blob, not verified; the caller closes it.
	Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error)
}

// Prober is implemented by Blobs that tell cheaply whether a blob is there.
type Prober interface {
	// Has reports whether a blob can be fetched.
	Has(ctx context.Context, desc ocispecs.Descriptor) (bool, error)
}

// Origin is Blobs with what is known of the place.
type Origin struct {
	Blobs
	// Name is for people.
	Name string
	// Repository, if set, is the registry reference the blobs are from.
	Repository string
}

// Stack is the layers of one result.
type Stack struct {
	// Layers, base first; at least one.
	Layers    []ref.Layer
	CreatedAt time.Time
	// From is where the blobs are; nil for the local content store.
	From *Origin
}

// ID names the layers in their order.
func (s *Stack) ID() string {
	h := digest.Canonical.Digester()
	for _, l := range s.Layers {
		_, _ = io.WriteString(h.Hash(), l.Descriptor.Digest.String()+"\n")
	}
	return h.Digest().Encoded()
}

// Table is an imported cache.
type Table struct {
	config *Config
	layers map[digest.Digest]ref.Layer
	from   *Origin
	byName map[digest.Digest][]int

	mu sync.Mutex // guards memo
	// memo has the records that match a key, by the key's id.
	memo map[digest.Digest][]int
}

// NewTable returns the table of a validated config. layers describes the blobs
// that are there; records of others are there without their results.
func NewTable(config *Config, layers map[digest.Digest]ref.Layer, from *Origin) *Table {
	t := &Table{config: config, layers: layers, from: from, byName: map[digest.Digest][]int{}, memo: map[digest.Digest][]int{}}
	for i, r := range config.Records {
		t.byName[r.Digest] = append(t.byName[r.Digest], i)
	}
	return t
}

// DescribedLayer reads what a manifest's descriptor of a layer tells; false if
// it does not tell what is inside the blob.
func DescribedLayer(desc ocispecs.Descriptor) (ref.Layer, bool) {
	diffID, err := digest.Parse(desc.Annotations[AnnotationDiffID])
	if err != nil || desc.Digest.Validate() != nil {
		return ref.Layer{}, false
	}
	l := ref.Layer{DiffID: diffID, Description: desc.Annotations[AnnotationDescription], Descriptor: ocispecs.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size,
	}}
	if t, err := time.Parse(time.RFC3339Nano, desc.Annotations[AnnotationCreatedAt]); err == nil {
		l.CreatedAt = &t
	}
	return l, true
}

// Find returns the newest result stored under a key, or nil.
func (t *Table) Find(ctx context.Context, key *solver.Key, expand Expand) *Stack {
	var best *Stack
	for _, i := range t.match(ctx, key.ID(), key, expand) {
		for _, s := range t.stacks(i) {
			if best == nil || s.CreatedAt.After(best.CreatedAt) {
				best = s
			}
		}
	}
	return best
}

// foretells reports whether there is a record of an op's first output.
func (t *Table) foretells(op digest.Digest) bool {
	return len(t.byName[recordName(cache.Structure{Digest: op})]) > 0
}

// match returns the records that a key names.
func (t *Table) match(ctx context.Context, id digest.Digest, key *solver.Key, expand Expand) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.memo) > maxMemo {
		clear(t.memo)
	}
	return t.matchLocked(ctx, id, key, expand)
}

// matchLocked is match with t.mu held. key may be nil.
func (t *Table) matchLocked(ctx context.Context, id digest.Digest, key *solver.Key, expand Expand) []int {
	if key != nil && key.Volatile {
		return nil
	}
	if found, ok := t.memo[id]; ok {
		return found
	}
	var s cache.Structure
	var keys []*solver.Key
	if key != nil {
		s, keys = structureOf(ctx, key, expand)
	} else {
		var ok bool
		if s, ok = expand(ctx, id); !ok {
			return nil
		}
	}
	var found []int
	var inputs [][]int
	for _, i := range t.byName[recordName(s)] {
		r := &t.config.Records[i]
		if len(r.Inputs) != len(s.Inputs) {
			continue
		}
		if inputs == nil {
			inputs = make([][]int, len(s.Inputs))
			for n, in := range s.Inputs {
				var k *solver.Key
				if keys != nil {
					k = keys[n]
				}
				inputs[n] = t.matchLocked(ctx, in.Key, k, expand)
			}
		}
		if matches(r, inputs, func(n int) string { return linkSelector(ctx, s.Inputs[n].Selector, s.Inputs[n].Key, keys, n, expand) }) {
			found = append(found, i)
		}
	}
	if ctx.Err() == nil {
		// Otherwise keys may have been taken for unknown.
		t.memo[id] = found
	}
	return found
}

// linkSelector is the selector that a link to an input has: none for contents,
// which are of what was selected.
func linkSelector(ctx context.Context, selector, id digest.Digest, keys []*solver.Key, n int, expand Expand) string {
	var s cache.Structure
	if keys != nil {
		s, _ = structureOf(ctx, keys[n], expand)
	} else {
		s, _ = expand(ctx, id)
	}
	if isContent(s) {
		return ""
	}
	return selector.String()
}

// matches reports whether for each input one alternative is among inputs.
func matches(r *Record, inputs [][]int, selector func(n int) string) bool {
	for n, alternatives := range r.Inputs {
		if len(inputs[n]) == 0 {
			return false
		}
		want := selector(n)
		if !slices.ContainsFunc(alternatives, func(in Input) bool {
			return in.Selector == want && slices.Contains(inputs[n], in.Link)
		}) {
			return false
		}
	}
	return true
}

// stacks returns the results of a record whose layers are all there, newest
// first.
func (t *Table) stacks(record int) []*Stack {
	var out []*Stack
	r := &t.config.Records[record]
	for _, res := range r.Results {
		var indexes []int
		for l := res.Layer; l != Root && len(indexes) <= maxStack; l = t.config.Layers[l].Parent {
			indexes = append(indexes, l)
		}
		slices.Reverse(indexes)
		if s := t.stack(indexes, res.CreatedAt); s != nil {
			out = append(out, s)
		}
	}
	for _, chain := range r.Chains {
		if s := t.stack(chain.Layers, chain.CreatedAt); s != nil {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *Stack) int { return cmp.Compare(b.CreatedAt.UnixNano(), a.CreatedAt.UnixNano()) })
	return out
}

func (t *Table) stack(indexes []int, created time.Time) *Stack {
	if len(indexes) == 0 || len(indexes) > maxStack {
		return nil
	}
	s := &Stack{CreatedAt: created, From: t.from}
	for _, i := range indexes {
		l, ok := t.layers[t.config.Layers[i].Blob]
		if !ok {
			return nil
		}
		s.Layers = append(s.Layers, l)
	}
	return s
}
