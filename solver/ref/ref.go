package ref

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
)

// Ref is one hold on an immutable file system. A nil *Ref is the empty file
// system, "scratch"; methods that say so accept it.
type Ref struct {
	e *entry
	// borrowed Refs belong to another hold and are not released.
	borrowed bool
	released atomic.Bool
}

var _ solver.Result = (*Ref)(nil)

// newRef returns a Ref for a hold on e that the caller has.
func newRef(e *entry) *Ref { return &Ref{e: e} }

// From returns the Ref behind a result of this package: nil for nil, and an
// error of kind InvalidArgument for a result of another origin.
func From(res solver.Result) (*Ref, error) {
	switch r := res.(type) {
	case nil:
		return nil, nil
	case *Ref:
		return r, nil
	case interface{ Unwrap() solver.Result }:
		return From(r.Unwrap())
	}
	return nil, fmt.Errorf("result %s is not a file system (%T): %w", res.ID(), res, errdefs.ErrInvalidArgument)
}

// ID names the file system.
func (r *Ref) ID() string { return r.e.id }

// Clone returns another hold, as a solver.Result. A nil Ref gives a nil Result.
func (r *Ref) Clone() solver.Result {
	if r == nil {
		return nil
	}
	return r.Hold()
}

// Hold returns another hold; nil for a nil Ref.
func (r *Ref) Hold() *Ref {
	if r == nil {
		return nil
	}
	r.e.s.mu.Lock()
	defer r.e.s.mu.Unlock()
	r.e.holds++
	return newRef(r.e)
}

// Release gives the hold up; the last one of a ref that was never kept removes
// it. It is safe on a nil Ref and more than once. It does not fail: what could
// not be cleaned up now is found later.
func (r *Ref) Release(ctx context.Context) error {
	if r == nil || r.borrowed || r.released.Swap(true) {
		return nil
	}
	r.e.s.release(ctx, r.e)
	return nil
}

// Info describes a ref.
type Info struct {
	ID          string
	Description string
	// RecordType is one of the Type constants.
	RecordType string
	CreatedAt  time.Time
	// LastUsed is zero if the ref was never loaded nor let go.
	LastUsed time.Time
	// Parents are the ids of the refs it was made from.
	Parents []string
	// Size of the own layer's files in bytes; -1 if nobody asked for it yet.
	Size int64
	// Snapshot is the key of the snapshot, in the namespace and snapshotter of
	// the Store.
	Snapshot string
}

// Info describes the ref.
func (r *Ref) Info() Info {
	e := r.e
	used, size := e.s.db.usage(e.id)
	used, size = e.s.used.merge(e.id, used, size)
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	info := recordInfo(&e.rec)
	info.LastUsed, info.Size = used.last, size
	return info
}

// recordInfo is what a record alone tells.
func recordInfo(rec *record) Info {
	info := Info{
		ID:          rec.ID,
		Description: rec.Description,
		RecordType:  rec.RecordType,
		CreatedAt:   rec.CreatedAt,
		Parents:     slices.Clone(rec.Parents),
		Size:        sizeUnknown,
		Snapshot:    rec.Snapshot,
	}
	if info.RecordType == "" {
		info.RecordType = TypeRegular
	}
	return info
}

// Chain returns the refs whose own layers make up the file system, base first;
// none for a nil Ref. They are borrowed: valid as long as r is held.
func (r *Ref) Chain() []*Ref {
	if r == nil {
		return nil
	}
	var out []*Ref
	for _, e := range r.e.chain() {
		out = append(out, &Ref{e: e, borrowed: true})
	}
	return out
}

// maxInfos and maxInfo bound what callers may attach to a ref.
const (
	maxInfos = 64
	maxInfo  = 64 << 10
)

// SetInfo attaches a small value to the ref; an empty one removes it. It is
// durable if the ref is, and becomes so with it otherwise.
func (r *Ref) SetInfo(name, value string) error { return r.e.setInfo(name, value) }

// GetInfo returns a value that SetInfo attached, or "".
func (r *Ref) GetInfo(name string) string { return r.e.getInfo(name) }

func (e *entry) setInfo(name, value string) error {
	if len(value) > maxInfo {
		return fmt.Errorf("info %q of ref %s: %d bytes, at most %d: %w", name, e.id, len(value), maxInfo, errdefs.ErrInvalidArgument)
	}
	e.s.mu.Lock()
	if old, ok := e.rec.Infos[name]; ok && old == value || !ok && value == "" {
		e.s.mu.Unlock()
		return nil
	}
	infos := maps.Clone(e.rec.Infos)
	if infos == nil {
		infos = map[string]string{}
	}
	infos[name] = value
	if value == "" {
		delete(infos, name)
	}
	if len(infos) > maxInfos {
		e.s.mu.Unlock()
		return fmt.Errorf("info %q of ref %s: more than %d infos: %w", name, e.id, maxInfos, errdefs.ErrInvalidArgument)
	}
	e.rec.Infos = infos
	e.s.mu.Unlock()
	return e.s.save(e)
}

func (e *entry) getInfo(name string) string {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.rec.Infos[name]
}
