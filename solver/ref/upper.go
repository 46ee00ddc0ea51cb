package ref

import "context"

// UpperDir returns the directory that holds the files of the ref's own layer,
// in overlay's format, if it has a layer and the snapshotter tells. Files in it
// may be linked from, and nothing in it may be changed. It stays as long as the
// ref is held.
func (r *Ref) UpperDir(ctx context.Context) (string, bool) {
	if r == nil || r.e.kind() != kindLayer || r.e.s.cfg.Layers == nil {
		return "", false
	}
	dir, err := r.e.s.cfg.Layers.UpperDir(r.e.s.ctx(ctx), r.e.snapshot())
	return dir, err == nil && dir != ""
}
