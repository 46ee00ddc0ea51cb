package gateway

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// outward gives ids to what a failed step left, so that the frontend can mount
// it. Other errors pass.
func (s *Session) outward(err error) error {
	var step *frontend.StepError
	if !errors.As(err, &step) {
		return err
	}
	out := &solver.InspectError{Description: step.Description, Action: step.Action, Content: step.Content, Err: err}
	if step.Op != nil {
		if out.Op, _ = proto.Marshal(step.Op); out.Op == nil {
			out.Op = []byte{} // an op without fields
		}
	}
	var full error
	if out.Inputs, full = s.putAll(step.Inputs); full == nil {
		out.Mounts, full = s.putAll(step.Mounts)
	}
	if full != nil {
		return errors.Join(err, full)
	}
	return out
}

func (s *Session) putAll(refs []frontend.Ref) ([]string, error) {
	ids := make([]string, len(refs))
	for i, r := range refs {
		var err error
		if ids[i], err = s.put(r); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// inward is the opposite of outward, for an error that the frontend returns: it
// may have got it from a call of its own. Whoever called the frontend has other
// ids. Ids that mean nothing here are left out, with the others.
func (s *Session) inward(err error) error {
	var in *solver.InspectError
	if !errors.As(err, &in) {
		return err
	}
	step := &frontend.StepError{Description: in.Description, Action: in.Action, Content: in.Content, Err: err}
	inputs, err1 := s.getAll(in.Inputs)
	mounts, err2 := s.getAll(in.Mounts)
	if errors.Join(err1, err2) != nil || len(inputs)+len(mounts) == 0 {
		return err
	}
	step.Inputs, step.Mounts = inputs, mounts
	op := &pb.Op{}
	if in.Op != nil && proto.Unmarshal(in.Op, op) == nil {
		step.Op = op
	}
	return step
}

func (s *Session) getAll(ids []string) ([]frontend.Ref, error) {
	refs := make([]frontend.Ref, len(ids))
	for i, id := range ids {
		var err error
		if refs[i], err = s.get(id); err != nil {
			return nil, err
		}
	}
	return refs, nil
}
