package files

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// platformTree is the files of one platform.
type platformTree struct {
	files.Tree
	// id of the platform.
	id string
}

// opened is the mounted files of a result.
type opened struct {
	trees []platformTree
	// undo is what close does, last first.
	undo []func() error
}

// close unmounts everything.
func (o *opened) close() error {
	var errs []error
	for _, f := range slices.Backward(o.undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// open mounts the results of src.
func (in *instance) open(ctx context.Context, src *export.Source) (*opened, error) {
	results, err := src.Results()
	if err != nil {
		return nil, err
	}
	o := &opened{}
	for _, r := range results {
		if err := in.openOne(ctx, o, src, r); err != nil {
			return nil, errors.Join(err, o.close())
		}
	}
	return o, nil
}

// openOne mounts the result of one platform.
func (in *instance) openOne(ctx context.Context, o *opened, src *export.Source, r export.Result) error {
	epoch, err := in.epoch.For(src, r.ID)
	if err != nil {
		return err
	}
	t := platformTree{id: r.ID, Tree: empty{}}
	if r.Ref != nil {
		dir, unmount, err := r.Ref.Dir(ctx)
		if err != nil {
			return fmt.Errorf("mount result of %s: %w", r.ID, err)
		}
		o.undo = append(o.undo, unmount)
		d, err := files.OpenDir(dir, files.Patterns{})
		if err != nil {
			return err
		}
		o.undo = append(o.undo, d.Close)
		d.Map = entryMap(epoch)
		t.Tree = d
	}
	tag, at := "", time.Now()
	if src.Multi() && !in.splits(src) {
		tag = directoryName(r.ID)
	}
	if epoch != nil {
		at = *epoch
	}
	if t.Tree, err = in.attested(ctx, t.Tree, r, tag, at); err != nil {
		return err
	}
	if in.splits(src) {
		t.Tree = below{Tree: t.Tree, dir: directory(directoryName(r.ID), epoch)}
	}
	o.trees = append(o.trees, t)
	return nil
}

// directoryName is what the directory of a platform is called.
func directoryName(platform string) string { return strings.ReplaceAll(platform, "/", "_") }

// entryMap changes what is read of a layer into what the client should see:
// without overlay's own notes, which show where a layer is not mounted but
// read in its directory, and with the times that were asked for.
func entryMap(epoch *time.Time) func(*fsutil.Stat) bool {
	return func(st *fsutil.Stat) bool {
		if isWhiteout(st) {
			return false
		}
		for k := range st.GetXattrs() {
			if strings.HasPrefix(k, "trusted.overlay.") || strings.HasPrefix(k, "user.overlay.") {
				delete(st.Xattrs, k)
			}
		}
		if epoch != nil {
			st.ModTime = epoch.UnixNano()
		}
		return true
	}
}

// checkOverlap refuses trees that share paths of anything but directories.
func checkOverlap(ctx context.Context, trees []platformTree) error {
	owner := map[string]string{}
	for _, t := range trees {
		err := t.Walk(ctx, func(st *fsutil.Stat) error {
			if isDir(st) {
				return nil
			}
			if first, ok := owner[st.GetPath()]; ok {
				return fmt.Errorf("cannot overwrite %s from %s with %s when split option is disabled: %w",
					st.GetPath(), first, t.id, errdefs.ErrInvalidArgument)
			}
			owner[st.GetPath()] = t.id
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
