package file

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// none is the index of no input and of no output.
const none = int64(-1)

// Config is what file ops share.
type Config struct {
	Refs *ref.Store
	// Slots bounds how many ops run at once; nil for no bound.
	Slots Slots
	// NoLinks copies files that could be shared with the layer they come from.
	NoLinks bool
}

// Slots are what a step takes one of while it runs; others may share them.
type Slots interface {
	// Acquire waits for n slots, or returns an error when ctx ends.
	Acquire(ctx context.Context, n int64) error
	// Release gives n slots back.
	Release(n int64)
}

// Op is a file op.
type Op struct {
	cfg     Config
	op      *pb.FileOp
	inputs  int
	outputs int
	// uses counts for each action how often its result is wanted.
	uses []int
	name string
}

var _ solver.Op = (*Op)(nil)

// New returns the op of a vertex with the given number of inputs. name
// describes the result in listings. An op whose actions refer to something that
// is not there is refused as InvalidArgument.
func New(cfg Config, op *pb.FileOp, inputs int, name string) (*Op, error) {
	o := &Op{cfg: cfg, op: op, inputs: inputs, uses: make([]int, len(op.GetActions())), name: name}
	// Outputs may come in any order but leave no gap: the graph asks for them by
	// number.
	outputs := map[int64]bool{}
	for i, a := range op.GetActions() {
		if err := o.check(i, a); err != nil {
			return nil, fmt.Errorf("file op: action %d: %w: %w", i, err, errdefs.ErrInvalidArgument)
		}
		if a.GetOutput() == none {
			continue
		}
		if outputs[a.GetOutput()] {
			return nil, fmt.Errorf("file op: duplicate output %d: %w", a.GetOutput(), errdefs.ErrInvalidArgument)
		}
		outputs[a.GetOutput()] = true
	}
	if len(outputs) == 0 {
		return nil, fmt.Errorf("file op: no outputs specified: %w", errdefs.ErrInvalidArgument)
	}
	for o.outputs < len(outputs) {
		if !outputs[int64(o.outputs)] {
			return nil, fmt.Errorf("file op: missing output index %d: %w", o.outputs, errdefs.ErrInvalidArgument)
		}
		o.outputs++
	}
	o.countUses()
	return o, nil
}

// check checks that an action refers to inputs and earlier actions only.
func (o *Op) check(i int, a *pb.FileAction) error {
	visible := int64(o.inputs + i)
	for _, in := range []int64{a.GetInput(), a.GetSecondaryInput()} {
		if in < none || in >= visible {
			return fmt.Errorf("invalid input index %d, %d provided", in, visible)
		}
	}
	if kindOf(a) == nil {
		return errors.New("unknown kind: the client may need a newer build server")
	}
	// A mode that nobody can read should fail before anything runs.
	if c := a.GetCopy(); c != nil && c.GetModeStr() != "" {
		if _, err := parseMode(c.GetModeStr()); err != nil {
			return err
		}
	}
	for _, u := range names(a) {
		if u.GetInput() < 0 || u.GetInput() >= visible {
			return fmt.Errorf("invalid user index: %d", u.GetInput())
		}
	}
	return nil
}

// kindOf returns the message of the action's kind, nil if there is none.
func kindOf(a *pb.FileAction) any {
	switch a := a.GetAction().(type) {
	case *pb.FileAction_Copy:
		return a.Copy
	case *pb.FileAction_Mkfile:
		return a.Mkfile
	case *pb.FileAction_Mkdir:
		return a.Mkdir
	case *pb.FileAction_Rm:
		return a.Rm
	case *pb.FileAction_Symlink:
		return a.Symlink
	}
	return nil
}

// ownerOf returns the owner an action sets, nil for none.
func ownerOf(a *pb.FileAction) *pb.ChownOpt {
	switch a := kindOf(a).(type) {
	case interface{ GetOwner() *pb.ChownOpt }:
		return a.GetOwner()
	}
	return nil
}

// names returns the users and groups an action looks up by name.
func names(a *pb.FileAction) []*pb.NamedUserOpt {
	var out []*pb.NamedUserOpt
	owner := ownerOf(a)
	for _, u := range []*pb.UserOpt{owner.GetUser(), owner.GetGroup()} {
		if n := u.GetByName(); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// countUses counts who wants the result of each action, leaving out actions
// that lead to no output: those do not run.
func (o *Op) countUses() {
	use := func(in int64) {
		if i := in - int64(o.inputs); i >= 0 {
			o.uses[i]++
		}
	}
	// Backwards: who wants an action comes after it, so its count is final when
	// it is looked at.
	for i := len(o.op.GetActions()) - 1; i >= 0; i-- {
		a := o.op.GetActions()[i]
		if a.GetOutput() != none {
			o.uses[i]++
		}
		if o.uses[i] == 0 {
			continue
		}
		use(a.GetInput())
		use(a.GetSecondaryInput())
		for _, u := range names(a) {
			use(u.GetInput())
		}
	}
}

// Run performs the actions and commits what they wrote.
func (o *Op) Run(ctx context.Context, env solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	if o.cfg.Slots != nil {
		if err := o.cfg.Slots.Acquire(ctx, 1); err != nil {
			return nil, context.Cause(ctx)
		}
		defer o.cfg.Slots.Release(1)
	}
	refs := make([]*ref.Ref, len(inputs))
	for i, in := range inputs {
		var err error
		if refs[i], err = ref.From(in); err != nil {
			return nil, err
		}
	}
	// What the first attempt wrote is thrown away if it did not work out; that
	// is rare and costs no more than the links made so far.
	if o.worthLinking() {
		out, err := o.attempt(ctx, env, refs, true)
		if !errors.Is(err, errNotSimple) {
			return out, err
		}
	}
	return o.attempt(ctx, env, refs, false)
}

// worthLinking reports whether the op copies files that may stay as they are.
func (o *Op) worthLinking() bool {
	if o.cfg.NoLinks {
		return false
	}
	for i, a := range o.op.GetActions() {
		c := a.GetCopy()
		// A new date needs a new file.
		if o.uses[i] > 0 && c != nil && a.GetSecondaryInput() != none && c.GetTimestamp() == -1 {
			return true
		}
	}
	return false
}
