package snapshotter

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// Prepare creates an active snapshot on top of a committed parent ("" is an
// empty directory) and of the spans in its labels, see WithSpans.
// AlreadyExists: the key is in use. NotFound: no such parent. InvalidArgument:
// the parent is not committed, or a label is malformed. OutOfRange: more than
// MaxLayers. The new root directory has the parent's mode and owner.
func (s *Snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindActive, key, parent, opts)
}

// View creates a read-only view of a committed parent and of the spans in its
// labels. Errors are those of Prepare. A view has no directory of its own.
func (s *Snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindView, key, parent, opts)
}

func (s *Snapshotter) create(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) ([]mount.Mount, error) {
	var base snapshots.Info
	for _, opt := range opts {
		if err := opt(&base); err != nil {
			return nil, fmt.Errorf("option of snapshot %q: %w", key, err)
		}
	}
	spans, err := spansOf(base.Labels)
	if err != nil {
		return nil, fmt.Errorf("labels of snapshot %q: %w", key, err)
	}
	p := placed{record: record{Kind: kind, Parent: parent, Created: s.now()}}
	p.record.Updated = p.record.Created
	p.record.setLabels(base.Labels)
	p.record.volatile = base.Labels[labelVolatile] != ""
	place := func(tx *storeTx) error { return s.place(tx, key, spans, &p) }
	if p.record.volatile {
		err = s.store.exclude(place)
	} else {
		err = s.store.update(ctx, place)
	}
	if err != nil {
		// The number is never given out again by this process, so nobody else
		// can own these directories. A failed transaction may also have left
		// none.
		if p.record.ID != 0 {
			if derr := s.layout.discardAll(p.record.ID); derr != nil {
				log.G(ctx).WithError(derr).Warn("leave directory of failed snapshot to the next start")
			}
		}
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	return s.mounts(&p), nil
}

// place resolves the layers below a new snapshot, makes its directories and
// writes its record; p is complete afterwards.
func (s *Snapshotter) place(tx *storeTx, key string, spans []Span, p *placed) error {
	if err := tx.checkFree(key); err != nil {
		return err
	}
	base, err := chain(tx, p.record.Parent)
	if err != nil {
		return err
	}
	runs, refs, err := resolveSpans(tx, key, spans)
	if err != nil {
		return err
	}
	if len(base) > 0 {
		runs, refs = slices.Insert(runs, 0, base), slices.Insert(refs, 0, base[0])
	}
	stack := stackRuns(runs)
	if len(stack) > MaxLayers {
		return fmt.Errorf("snapshot %q would have %d layers, overlay mounts %d: %w", key, len(stack), MaxLayers, errdefs.ErrOutOfRange)
	}
	slices.Sort(refs)
	p.record.Refs = slices.Compact(refs)
	if p.record.ID, err = s.store.nextID(tx); err != nil {
		return err
	}
	if p.record.Kind == snapshots.KindActive {
		if err := s.layout.makeUpper(p.record.ID, len(stack) > 0); err != nil {
			return err
		}
		if err := s.inherit(p.record.ID, stack, p.record.Labels); err != nil {
			return err
		}
	}
	p.stack = stack
	if p.plain, err = isPlain(tx, stack); err != nil {
		return err
	}
	if p.record.volatile {
		s.store.volatiles.put(key, *p)
		return nil
	}
	if err := tx.putLinks(&p.record, stack); err != nil {
		return err
	}
	return tx.put(key, &p.record)
}

// chain returns a committed snapshot's own layer and all below, the uppermost
// first; nothing for "".
func chain(tx *storeTx, name string) ([]uint64, error) {
	if name == "" {
		return nil, nil
	}
	r, err := tx.get(name)
	if err != nil {
		return nil, fmt.Errorf("parent: %w", err)
	}
	return committedChain(tx, name, &r)
}

func committedChain(tx *storeTx, name string, r *record) ([]uint64, error) {
	if r.Kind != snapshots.KindCommitted {
		return nil, fmt.Errorf("parent %q is not committed: %w", name, errdefs.ErrInvalidArgument)
	}
	below, err := tx.stack(r.ID)
	if err != nil {
		return nil, err
	}
	return slices.Insert(below, 0, r.ID), nil
}

// inherit gives the new layer's directory the mode and owner of the layer
// below, because in an overlay the root directory is always the upper one.
func (s *Snapshotter) inherit(id uint64, stack []uint64, labels map[string]string) error {
	path, mode, uid, gid := s.layout.upper(id), uint32(0o755), 0, 0
	if len(stack) > 0 {
		var st unix.Stat_t
		if err := unix.Lstat(s.layout.upper(stack[0]), &st); err != nil {
			return fmt.Errorf("read parent layer: %w", &os.PathError{Op: "lstat", Path: s.layout.upper(stack[0]), Err: err})
		}
		mode, uid, gid = st.Mode&0o7777, int(st.Uid), int(st.Gid)
	}
	mapped, err := mappedRoot(labels, &uid, &gid)
	if err != nil {
		return err
	}
	if mapped || len(stack) > 0 && (uid != os.Geteuid() || gid != os.Getegid()) {
		if err := os.Lchown(path, uid, gid); err != nil {
			return fmt.Errorf("set owner of layer: %w", err)
		}
	}
	// After the owner, since chown clears set-id bits; and always, since
	// mkdir obeys the process's umask.
	if err := unix.Chmod(path, mode); err != nil {
		return fmt.Errorf("set mode of layer: %w", err)
	}
	return nil
}

// mappedRoot sets uid and gid to what container root is outside, according to
// the mapping labels; it reports whether there are any.
func mappedRoot(labels map[string]string, uid, gid *int) (bool, error) {
	mapped := false
	for _, m := range []struct {
		label string
		id    *int
	}{{snapshots.LabelSnapshotUIDMapping, uid}, {snapshots.LabelSnapshotGIDMapping, gid}} {
		v := labels[m.label]
		if v == "" {
			continue
		}
		id, err := outsideRoot(v)
		if err != nil {
			return false, fmt.Errorf("label %s: %w", m.label, err)
		}
		*m.id, mapped = id, true
	}
	return mapped, nil
}

// outsideRoot finds the id that 0 is mapped to in "inside:outside:count,...".
func outsideRoot(mapping string) (int, error) {
	for entry := range strings.SplitSeq(mapping, ",") {
		fields := strings.Split(entry, ":")
		if len(fields) != 3 {
			return 0, fmt.Errorf("mapping %q is not inside:outside:count: %w", entry, errdefs.ErrInvalidArgument)
		}
		var n [3]uint64
		for i, f := range fields {
			v, err := strconv.ParseUint(f, 10, 31)
			if err != nil {
				return 0, fmt.Errorf("mapping %q: %w: %w", entry, err, errdefs.ErrInvalidArgument)
			}
			n[i] = v
		}
		if n[0] == 0 && n[2] > 0 {
			return int(n[1]), nil
		}
	}
	return 0, fmt.Errorf("mapping %q does not map 0: %w", mapping, errdefs.ErrInvalidArgument)
}
