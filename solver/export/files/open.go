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
	// id of the platform; dir is its directory, "" if platforms are not split.
	id, dir string
}

// open mounts the results of src. release unmounts them.
func (in *instance) open(ctx context.Context, src *export.Source) (trees []platformTree, release func() error, err error) {
	var undo []func() error
	release = func() error {
		var errs []error
		for _, f := range slices.Backward(undo) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	results, err := src.Results()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range results {
		if err := checkAttestations(r); err != nil {
			return nil, nil, err
		}
		epoch, err := in.epoch.For(src, r.ID)
		if err != nil {
			return nil, nil, err
		}
		t := platformTree{id: r.ID, Tree: empty{}}
		if r.Ref != nil {
			dir, unmount, err := r.Ref.Dir(ctx)
			if err != nil {
				return nil, nil, fmt.Errorf("mount result of %s: %w", r.ID, err)
			}
			undo = append(undo, unmount)
			d, err := files.OpenDir(dir, files.Patterns{})
			if err != nil {
				return nil, nil, err
			}
			undo = append(undo, d.Close)
			d.Map = entryMap(epoch)
			t.Tree = d
		}
		if in.splits(src) {
			t.dir = strings.ReplaceAll(r.ID, "/", "_")
			t.Tree = below{Tree: t.Tree, dir: directory(t.dir, epoch)}
		}
		trees = append(trees, t)
	}
	return trees, release, nil
}

// checkAttestations refuses those that would have to be written as files.
func checkAttestations(r export.Result) error {
	for _, att := range r.Attestations {
		if !att.InlineOnly {
			return fmt.Errorf("write attestation %s to a file: %w", att.PredicateType, errdefs.ErrNotImplemented)
		}
	}
	return nil
}

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
