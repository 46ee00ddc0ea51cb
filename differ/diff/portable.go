package diff

import (
	"context"
	"errors"
	"strings"
)

// errBound ends the walk of Portable.
var errBound = errors.New("the layer is bound to those below")

// Portable reports whether the layer directory of a layered pair means on top
// of any tree what the tar of the pair says: it has no opaque directory and no
// whiteout of what never was, and nothing that is unmodified except directories
// on the way to a change. Only the directory is read, and what is below at its
// names. It answers ErrNeedsMount
// as Changes does.
func Portable(ctx context.Context, p Pair) (bool, error) {
	c := &pending{}
	w := &walker{layered: true, attrs: p.attrs(), fn: c.change, bound: func(string) error { return errBound }}
	err := p.walk(ctx, w)
	if errors.Is(err, errBound) {
		return false, nil
	}
	return err == nil && !c.idle(""), err
}

// pending follows a walk and knows the unmodified directories above the current
// path that no change has justified yet.
type pending struct {
	dirs []string
}

// change handles one step of the walk.
func (c *pending) change(x *Change) error {
	if c.idle(x.Path) {
		return errBound
	}
	switch {
	case x.Kind == Unmodified && x.IsDir():
		c.dirs = append(c.dirs, x.Path)
	case x.Kind == Unmodified:
		// One of several names of a file. Whether it belongs to the layer is for
		// Rebase to find out.
		return errBound
	default:
		c.dirs = c.dirs[:0]
	}
	return nil
}

// idle reports whether the walk, now at path, has left a directory without a
// change in it.
func (c *pending) idle(path string) bool {
	for _, d := range c.dirs {
		if !strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}
