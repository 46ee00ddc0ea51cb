package llb

import pb "github.com/kilnbuild/kiln/solver/pb/llb"

func validateFile(op *pb.FileOp, inputs int) (outputs int, err error) {
	if op == nil {
		return 0, invalidf("invalid nil file op")
	}
	if len(op.Actions) == 0 {
		return 0, invalidf("invalid file op with no actions")
	}
	used := newOutputSet(len(op.Actions))
	for i, action := range op.Actions {
		// An action sees the inputs and the results of earlier actions, never
		// its own or a later one: that would be a circle.
		visible := inputs + i
		if err := checkIndex("file action input", action.GetInput(), visible); err != nil {
			return 0, err
		}
		if err := checkIndex("file action secondary input", action.GetSecondaryInput(), visible); err != nil {
			return 0, err
		}
		if err := validateAction(i, action, visible); err != nil {
			return 0, err
		}
		if action.Output == noIndex {
			continue
		}
		if err := used.add(action.Output); err != nil {
			return 0, err
		}
	}
	return used.count, nil
}

func validateAction(i int, action *pb.FileAction, visible int) error {
	switch a := action.Action.(type) {
	case *pb.FileAction_Copy:
		if a.Copy == nil {
			break
		}
		if err := checkText("copy path", a.Copy.Src, a.Copy.Dest); err != nil {
			return err
		}
		return validateOwner(a.Copy.Owner, visible)
	case *pb.FileAction_Mkfile:
		if a.Mkfile == nil {
			break
		}
		if err := checkText("mkfile path", a.Mkfile.Path); err != nil {
			return err
		}
		return validateOwner(a.Mkfile.Owner, visible)
	case *pb.FileAction_Mkdir:
		if a.Mkdir == nil {
			break
		}
		if err := checkText("mkdir path", a.Mkdir.Path); err != nil {
			return err
		}
		return validateOwner(a.Mkdir.Owner, visible)
	case *pb.FileAction_Symlink:
		if a.Symlink == nil {
			break
		}
		if err := checkText("symlink path", a.Symlink.Oldpath, a.Symlink.Newpath); err != nil {
			return err
		}
		return validateOwner(a.Symlink.Owner, visible)
	case *pb.FileAction_Rm:
		if a.Rm == nil {
			break
		}
		return checkText("rm path", a.Rm.Path)
	}
	return invalidf("invalid file action %d of unknown kind: the client may need a newer build server", i)
}

// validateOwner checks where names of users are looked up.
func validateOwner(owner *pb.ChownOpt, visible int) error {
	for _, user := range []*pb.UserOpt{owner.GetUser(), owner.GetGroup()} {
		if named := user.GetByName(); named != nil {
			if err := checkIndex("user input", named.Input, visible); err != nil {
				return err
			}
			if err := checkText("user name", named.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
