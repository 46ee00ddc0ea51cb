package file

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// run is one attempt at an op.
type run struct {
	op      *Op
	inputs  []*ref.Ref
	layered bool
	// results of the actions so far.
	results []result
}

// result is what an action left: an open segment that the next action goes on
// with, or a file system.
type result struct {
	segment *segment
	ref     *ref.Ref // nil is scratch; held
}

// segment is a layer in the making.
type segment struct {
	active  *ref.Active
	parent  *ref.Ref
	tree    *tree
	release func() error
}

// attempt runs the actions that lead to an output, in order.
func (o *Op) attempt(ctx context.Context, env solver.Env, inputs []*ref.Ref, layered bool) (out []solver.Result, err error) {
	r := &run{op: o, inputs: inputs, layered: layered, results: make([]result, len(o.op.GetActions()))}
	defer func() { err = errors.Join(err, r.close(context.WithoutCancel(ctx))) }()
	// An action refers to earlier ones only, so their order is one in which
	// everything is there when it is wanted.
	for i, a := range o.op.GetActions() {
		if o.uses[i] == 0 {
			continue // leads to no output: it must not even fail
		}
		if err := r.action(ctx, i, a); err != nil {
			if !errors.Is(err, errNotSimple) {
				solver.KeepFailure(ctx, env, func(ctx context.Context) *solver.Failure { return r.remains(ctx, i) })
			}
			return nil, err
		}
	}
	// The caller gets holds of its own: close gives up those of the run.
	out = make([]solver.Result, o.outputs)
	for i, a := range o.op.GetActions() {
		if a.GetOutput() != none {
			out[a.GetOutput()] = r.results[i].ref.Clone()
		}
	}
	return out, nil
}

// close drops layers that were not finished and what was only needed on the
// way.
func (r *run) close(ctx context.Context) error {
	var errs []error
	for i := range r.results {
		if s := r.results[i].segment; s != nil {
			errs = append(errs, s.discard(ctx))
		}
		errs = append(errs, r.results[i].ref.Release(ctx))
	}
	return errors.Join(errs...)
}

// input returns the file system behind an index; nil for scratch.
func (r *run) input(i int64) (*ref.Ref, error) {
	switch n := int64(len(r.inputs)); {
	case i < 0:
		return nil, nil
	case i < n:
		return r.inputs[i], nil
	default:
		return r.results[i-n].ref, nil
	}
}

// action performs one action.
func (r *run) action(ctx context.Context, i int, a *pb.FileAction) error {
	s, err := r.segment(ctx, a.GetInput())
	if err != nil {
		return err
	}
	r.results[i].segment = s // from here on close drops it
	if err := r.perform(ctx, s, a); err != nil {
		return err
	}
	if r.continued(i) {
		return nil
	}
	r.results[i].segment = nil
	r.results[i].ref, err = s.commit(ctx)
	return err
}

// continued reports whether all that is wanted of a result is that one more
// action goes on with it.
func (r *run) continued(i int) bool {
	if r.op.uses[i] != 1 {
		return false
	}
	for j, a := range r.op.op.GetActions() {
		if r.op.uses[j] > 0 && a.GetInput() == int64(len(r.inputs)+i) {
			return true
		}
	}
	return false
}

// segment returns the layer that an action with this input writes to.
func (r *run) segment(ctx context.Context, input int64) (*segment, error) {
	// The result of the action before is still open if nobody else wants it.
	if i := input - int64(len(r.inputs)); i >= 0 && r.results[i].segment != nil {
		s := r.results[i].segment
		r.results[i].segment = nil
		return s, nil
	}
	parent, err := r.input(input)
	if err != nil {
		return nil, err
	}
	active, err := r.op.cfg.Refs.Prepare(ctx, parent, ref.WithDescription(r.op.name))
	if err != nil {
		return nil, err
	}
	s := &segment{active: active, parent: parent}
	if err := s.open(ctx, r.layered); err != nil {
		return nil, errors.Join(err, s.discard(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// open opens the layer's tree.
func (s *segment) open(ctx context.Context, layered bool) error {
	upper, ok := "", false
	if layered {
		upper, ok = s.active.UpperDir(ctx)
	}
	lower := ""
	var err error
	switch {
	case !ok:
		// Mounted: also where the snapshotter does not tell its directories.
		upper, s.release, err = s.active.Dir(ctx)
	case s.parent != nil:
		// The layer must not be mounted while it is written to; what is below it
		// may.
		lower, s.release, err = s.parent.Dir(ctx)
	}
	if err != nil {
		return err
	}
	if s.tree, err = openTree(upper, lower, ok); err != nil {
		return err
	}
	// A file of the layers below must not get a second name in this one.
	s.tree.used.below = layerDirs(ctx, s.parent)
	return nil
}

// leave closes the tree and lets go of its mount: a layer that is mounted
// cannot be committed. It is safe to call more than once.
func (s *segment) leave() error {
	if s.tree != nil {
		s.tree.close()
		s.tree = nil
	}
	if s.release == nil {
		return nil
	}
	release := s.release
	s.release = nil
	return release()
}

// commit ends the segment as a file system, or drops it if that fails.
func (s *segment) commit(ctx context.Context) (*ref.Ref, error) {
	if err := s.leave(); err != nil {
		return nil, errors.Join(err, s.discard(context.WithoutCancel(ctx)))
	}
	out, err := s.active.Commit(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("commit layer: %w", err), s.discard(context.WithoutCancel(ctx)))
	}
	return out, nil
}

// discard ends the segment and removes what it wrote.
func (s *segment) discard(ctx context.Context) error {
	return errors.Join(s.leave(), s.active.Discard(ctx))
}

// perform makes the change of one action.
func (r *run) perform(ctx context.Context, s *segment, a *pb.FileAction) error {
	who, err := lookupOwner(ctx, ownerOf(a), r.input)
	if err != nil {
		return err
	}
	switch a := a.GetAction().(type) {
	case *pb.FileAction_Mkdir:
		return mkdir(s.tree, a.Mkdir, who)
	case *pb.FileAction_Mkfile:
		return mkfile(s.tree, a.Mkfile, who)
	case *pb.FileAction_Symlink:
		return symlink(s.tree, a.Symlink, who)
	case *pb.FileAction_Rm:
		return remove(s.tree, a.Rm)
	}
	return r.copy(ctx, s, a, who)
}

// copy opens the source and copies from it.
func (r *run) copy(ctx context.Context, s *segment, a *pb.FileAction, who *owner) (err error) {
	source, err := r.input(a.GetSecondaryInput())
	if err != nil {
		return err
	}
	dir := ""
	if source != nil {
		var release func() error
		if dir, release, err = source.Dir(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	// Nothing is ever written through this tree: Ref.Dir may be the layer's own
	// directory, which other builds use at the same time.
	from, err := openTree(dir, "", false)
	if err != nil {
		return err
	}
	defer from.close()
	c, err := newCopying(a.GetCopy(), from, s.tree, who)
	if err != nil {
		return err
	}
	if s.tree.layered {
		c.links = openLinker(layerDirs(ctx, source), &s.tree.used)
		defer c.links.close()
	}
	return c.run(ctx)
}

// layerDirs returns the directories of the layers of a file system, the
// uppermost first, as far as they are known.
func layerDirs(ctx context.Context, r *ref.Ref) []string {
	var out []string
	chain := r.Chain()
	for i := len(chain) - 1; i >= 0; i-- {
		if dir, ok := chain[i].UpperDir(ctx); ok {
			out = append(out, dir)
		}
	}
	return out
}

// timesOf are the times for a timestamp of the wire: nanoseconds, -1 for none.
func timesOf(ts int64) []unix.Timespec {
	if ts == -1 {
		return nil
	}
	t := unix.NsecToTimespec(ts)
	return []unix.Timespec{t, t}
}
