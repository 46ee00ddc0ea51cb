package snapshotter

import (
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// placed is a record together with its place: the layers below it.
type placed struct {
	record record
	stack  []uint64 // uppermost first
	// plain is set when there is exactly one lower layer and that layer was
	// made on top of nothing. Only such a layer has no whiteouts and can be
	// shown by a bind mount.
	plain bool
}

// load fills in the place of p.record.
func (p *placed) load(tx *storeTx) (err error) {
	if p.stack, err = tx.stack(p.record.ID); err != nil {
		return err
	}
	p.plain, err = isPlain(tx, p.stack)
	return err
}

func isPlain(tx *storeTx, stack []uint64) (bool, error) {
	if len(stack) != 1 {
		return false, nil
	}
	below, err := tx.stack(stack[0])
	return len(below) == 0, err
}

// mounts describes how to mount an active snapshot or a view: one mount, which
// mount(2), containerd's mount.All and Mount of this package understand.
func (s *Snapshotter) mounts(p *placed) []mount.Mount {
	active := p.record.Kind == snapshots.KindActive
	options := s.idmapOptions(&p.record)
	switch {
	case active && len(p.stack) == 0:
		return bindMount(s.layout.upper(p.record.ID), append(options, "rw", "rbind"))
	case len(p.stack) == 0:
		return bindMount(s.layout.empty(), append(options, "ro", "rbind"))
	case !active && p.plain:
		return bindMount(s.layout.upper(p.stack[0]), append(options, "ro", "rbind"))
	}
	lower := s.paths(p.stack)
	if active {
		options = append(options, "workdir="+s.layout.workTop(p.record.ID), "upperdir="+s.layout.upper(p.record.ID))
	} else if len(lower) == 1 {
		// Overlay without an upper directory wants two lower ones.
		lower = append(lower, s.layout.empty())
	}
	options = append(options, "lowerdir="+strings.Join(lower, ":"))
	options = append(options, s.options...)
	if active && p.record.volatile && volatileMounts() {
		options = append(options, "volatile")
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}
}

func bindMount(source string, options []string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: source, Options: options}}
}

// paths are the directories of layers, in the same order.
func (s *Snapshotter) paths(ids []uint64) []string {
	paths := make([]string, len(ids))
	for i, id := range ids {
		paths[i] = s.layout.upper(id)
	}
	return paths
}

// idmapOptions asks for idmapped lower directories when the snapshot has both
// labels and the configuration allows it.
func (s *Snapshotter) idmapOptions(r *record) []string {
	uids, gids := r.Labels[snapshots.LabelSnapshotUIDMapping], r.Labels[snapshots.LabelSnapshotGIDMapping]
	if !s.config.RemapIDs || uids == "" || gids == "" {
		return nil
	}
	return []string{"uidmap=" + uids, "gidmap=" + gids}
}
