package exec

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// setup is what one run of an op mounts, and what comes of it.
type setup struct {
	op     *Op
	env    solver.Env
	inputs []solver.Result

	root    executor.Root
	mounts  []executor.Mount
	outputs []output
	// caches has the cache mounts by name.
	caches map[string]*ref.Active
	// actives has what is written to by its mount.
	actives map[*pb.Mount]*ref.Active
	// browsed says that the files are looked at from outside meanwhile: layers
	// are mounted once for both.
	browsed bool
	undo    []func(ctx context.Context) error
}

// output is where an output comes from: a new layer, or an input as it is.
type output struct {
	index  int64
	active *ref.Active
	input  solver.Result
}

func newSetup(o *Op, env solver.Env, inputs []solver.Result) *setup {
	return &setup{op: o, env: env, inputs: inputs, caches: map[string]*ref.Active{}, actives: map[*pb.Mount]*ref.Active{}}
}

// dest is where a mount goes; a relative one counts from the directory that
// the process starts in.
func (s *setup) dest(m *pb.Mount) string {
	if path.IsAbs(m.GetDest()) {
		return m.GetDest()
	}
	return path.Join("/", s.op.op.GetMeta().GetCwd(), m.GetDest())
}

// later undoes something when the run is over.
func (s *setup) later(fn func(ctx context.Context) error) { s.undo = append(s.undo, fn) }

// close undoes everything, the last first.
func (s *setup) close(ctx context.Context) error {
	var errs []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = append(errs, s.undo[i](ctx))
	}
	return errors.Join(errs...)
}

// prepare makes all mounts.
func (s *setup) prepare(ctx context.Context) error {
	for _, m := range s.op.op.GetMounts() {
		var err error
		switch m.GetMountType() {
		case pb.MountType_BIND:
			err = s.bind(ctx, m)
		case pb.MountType_CACHE:
			err = s.cache(ctx, m)
		case pb.MountType_TMPFS:
			s.tmpfs(m)
		case pb.MountType_SECRET:
			err = s.secret(ctx, m)
		case pb.MountType_SSH:
			err = s.ssh(ctx, m)
		default:
			err = fmt.Errorf("mount type %v: %w", m.GetMountType(), errdefs.ErrNotImplemented)
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.GetDest(), err)
		}
	}
	if s.root.Mounts == nil {
		return fmt.Errorf("exec op has no root file system: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// input returns the ref a mount shows; nil for scratch.
func (s *setup) input(m *pb.Mount) (*ref.Ref, solver.Result, error) {
	if m.GetInput() == noInput {
		return nil, nil, nil
	}
	res := s.inputs[m.GetInput()]
	r, err := ref.From(res)
	return r, res, err
}

// bind shows an input. It is read-only, or a new layer over the input that
// becomes an output or is dropped.
func (s *setup) bind(ctx context.Context, m *pb.Mount) error {
	r, res, err := s.input(m)
	if err != nil {
		return err
	}
	isRoot := m.GetDest() == rootDest
	// A read-only root needs a layer of its own all the same: the runtime
	// makes mount points in it.
	if !m.GetReadonly() || isRoot || r == nil {
		a, err := s.layer(ctx, m, r)
		if err != nil {
			return err
		}
		switch {
		case m.GetOutput() == noOutput:
		case m.GetReadonly():
			s.outputs = append(s.outputs, output{index: m.GetOutput(), input: res})
		default:
			s.outputs = append(s.outputs, output{index: m.GetOutput(), active: a})
		}
		return s.show(ctx, m, a)
	}
	if m.GetOutput() != noOutput {
		s.outputs = append(s.outputs, output{index: m.GetOutput(), input: res})
	}
	s.mounts = append(s.mounts, executor.Mount{Dest: s.dest(m), Source: refMount{r}, Selector: m.GetSelector(), Readonly: true})
	return nil
}

// layer makes a new layer over an input, dropped unless it is committed.
func (s *setup) layer(ctx context.Context, m *pb.Mount, parent *ref.Ref) (*ref.Active, error) {
	a, err := s.op.cfg.Refs.Prepare(ctx, parent, ref.WithDescription("mount "+m.GetDest()+" from exec "+s.op.name))
	if err != nil {
		return nil, err
	}
	s.later(a.Discard)
	s.actives[m] = a
	return a, nil
}

// show mounts a layer, as the root or below it.
func (s *setup) show(ctx context.Context, m *pb.Mount, a *ref.Active) error {
	var source executor.Mountable = activeMount{a}
	if s.browsed {
		dir, release, err := a.Dir(ctx)
		if err != nil {
			return err
		}
		s.later(func(context.Context) error { return release() })
		source = staticMount{{Type: "bind", Source: dir, Options: []string{"rbind", "rw"}}}
	}
	if m.GetDest() != rootDest {
		s.mounts = append(s.mounts, executor.Mount{
			Dest: s.dest(m), Source: source, Selector: m.GetSelector(), Readonly: m.GetReadonly(),
		})
		return nil
	}
	mounts, _, err := source.Mount(ctx)
	if err != nil {
		return err
	}
	s.root = executor.Root{Mounts: mounts, Readonly: m.GetReadonly()}
	return nil
}

func (s *setup) tmpfs(m *pb.Mount) {
	options := []string{"nosuid"}
	if m.GetReadonly() {
		options = append(options, "ro")
	}
	if size := m.GetTmpfsOpt().GetSize(); size > 0 {
		options = append(options, fmt.Sprintf("size=%d", size))
	}
	s.mounts = append(s.mounts, executor.Mount{
		Dest: s.dest(m), Source: staticMount{{Type: "tmpfs", Source: "tmpfs", Options: options}},
	})
}

// commit turns the layers that are outputs into results.
func (s *setup) commit(ctx context.Context) ([]solver.Result, error) {
	out := make([]solver.Result, s.op.outputs)
	for _, o := range s.outputs {
		var res solver.Result
		if o.active != nil {
			r, err := o.active.Commit(ctx)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("commit layer: %w", err), releaseAll(context.WithoutCancel(ctx), out))
			}
			res = r
		} else if o.input != nil {
			res = o.input.Clone()
		}
		out[o.index] = res
	}
	return out, nil
}

func releaseAll(ctx context.Context, results []solver.Result) error {
	var errs []error
	for _, r := range results {
		if r != nil {
			errs = append(errs, r.Release(ctx))
		}
	}
	return errors.Join(errs...)
}

// refMount is an input, read-only.
type refMount struct{ ref *ref.Ref }

// Mount returns read-only mounts.
func (m refMount) Mount(ctx context.Context) ([]mount.Mount, func() error, error) {
	return m.ref.Mounts(ctx)
}

// activeMount is a writable layer.
type activeMount struct{ active *ref.Active }

// Mount returns the layer's mounts.
func (m activeMount) Mount(ctx context.Context) ([]mount.Mount, func() error, error) {
	mounts, err := m.active.Mounts(ctx)
	return mounts, nil, err
}

// staticMount needs no preparation.
type staticMount []mount.Mount

// Mount returns the mounts.
func (m staticMount) Mount(context.Context) ([]mount.Mount, func() error, error) { return m, nil, nil }
