package compose

import (
	"errors"
	"time"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Action is one change of files: Copy, Mkdir, Mkfile, Remove or Symlink.
type Action interface {
	// source is the second file system that the action reads.
	source() State
	// encode writes the action; users are looked up in input base.
	encode(e *encoding, base int64) *pb.FileAction
}

// Files applies actions to base, one after the other, as one operation. No
// actions leave base as it is.
func Files(base State, info Info, actions ...Action) State {
	if len(actions) == 0 {
		return base
	}
	inputs := []State{base}
	for _, action := range actions {
		if action == nil {
			return Failed(errors.New("file action is nil"))
		}
		inputs = append(inputs, action.source())
	}
	return newState(&filesOp{base: base, actions: actions}, info.inherit(base), inputs...)
}

type filesOp struct {
	base    State
	actions []Action
}

func (f *filesOp) encode(e *encoding) error {
	e.need("file.base")
	// All inputs first: the index of a result counts from their end.
	base := e.input(f.base)
	for _, action := range f.actions {
		e.input(action.source())
	}
	op := &pb.FileOp{}
	previous := base
	for i, action := range f.actions {
		out := action.encode(e, base)
		out.Input = previous
		out.SecondaryInput = e.input(action.source())
		out.Output = scratchIndex
		if i == len(f.actions)-1 {
			out.Output = 0
		}
		op.Actions = append(op.Actions, out)
		previous = int64(len(e.op.Inputs) + i)
	}
	e.op.Op = &pb.Op_File{File: op}
	return nil
}

// Owner is who owns what an action makes. Names are looked up in the base of
// Files. A nil Owner, User or Group leaves it as it is or at root.
type Owner struct{ User, Group *Identity }

// Identity is a user or group, by Name if that is not empty, else by ID.
type Identity struct {
	Name string
	ID   uint32
}

func (o *Owner) encode(base int64) *pb.ChownOpt {
	if o == nil {
		return nil
	}
	return &pb.ChownOpt{User: o.User.encode(base), Group: o.Group.encode(base)}
}

func (i *Identity) encode(base int64) *pb.UserOpt {
	switch {
	case i == nil:
		return nil
	case i.Name != "":
		return &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: i.Name, Input: base}}}
	}
	return &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: i.ID}}
}

// keep is the number that leaves a mode or a time as it is.
const keep = -1

func timestamp(t *time.Time) int64 {
	if t == nil {
		return keep
	}
	return t.UnixNano()
}

// Copy copies from another file system. Slashes at the end of Src and Dest
// mean something, as for a shell.
type Copy struct {
	From      State
	Src, Dest string
	Owner     *Owner
	// Mode holds permission bits; ModeText is a change as chmod reads it and
	// wins. Neither keeps the mode of the source.
	Mode     *uint32
	ModeText string
	// FollowLinks copies what a link at Src points to.
	FollowLinks bool
	// ContentsOnly copies what is in a directory, not the directory.
	ContentsOnly bool
	// Unpack extracts archives.
	Unpack bool
	// MakeDest creates the directories that lead to Dest.
	MakeDest bool
	// Wildcard expands Src; EmptyWildcard lets it match nothing.
	Wildcard, EmptyWildcard bool
	// Created sets the time; nil keeps that of the source.
	Created *time.Time
	// Include and Exclude are patterns in the language of .dockerignore;
	// Required are paths that must exist although patterns select.
	Include, Exclude, Required []string
	// ReplaceExisting removes what is in the way of another kind of file.
	ReplaceExisting bool
}

func (c Copy) source() State { return c.From }

func (c Copy) encode(e *encoding, base int64) *pb.FileAction {
	e.needIf(len(c.Include)+len(c.Exclude) > 0, "file.copy.includeexcludepatterns")
	e.needIf(len(c.Required) > 0, "file.copy.requiredpaths")
	e.needIf(c.ReplaceExisting, "file.copy.alwaysreplaceexistingdestpaths")
	mode := int32(keep)
	if c.Mode != nil {
		mode = int32(*c.Mode)
	}
	return &pb.FileAction{Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{
		Src:                              c.Src,
		Dest:                             c.Dest,
		Owner:                            c.Owner.encode(base),
		Mode:                             mode,
		ModeStr:                          c.ModeText,
		FollowSymlink:                    c.FollowLinks,
		DirCopyContents:                  c.ContentsOnly,
		AttemptUnpackDockerCompatibility: c.Unpack,
		CreateDestPath:                   c.MakeDest,
		AllowWildcard:                    c.Wildcard,
		AllowEmptyWildcard:               c.EmptyWildcard,
		Timestamp:                        timestamp(c.Created),
		IncludePatterns:                  c.Include,
		ExcludePatterns:                  c.Exclude,
		RequiredPaths:                    c.Required,
		AlwaysReplaceExistingDestPaths:   c.ReplaceExisting,
	}}}
}

// Mkdir makes a directory; one that exists is left alone.
type Mkdir struct {
	Path string
	// Mode holds permission bits.
	Mode uint32
	// Parents makes the directories above too.
	Parents bool
	Owner   *Owner
	// Created sets the time; nil means now.
	Created *time.Time
}

func (Mkdir) source() State { return State{} }

func (m Mkdir) encode(_ *encoding, base int64) *pb.FileAction {
	return &pb.FileAction{Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{
		Path:        m.Path,
		Mode:        int32(m.Mode),
		MakeParents: m.Parents,
		Owner:       m.Owner.encode(base),
		Timestamp:   timestamp(m.Created),
	}}}
}

// Mkfile writes a file.
type Mkfile struct {
	Path string
	// Mode holds permission bits.
	Mode  uint32
	Data  []byte
	Owner *Owner
	// Created sets the time; nil means now.
	Created *time.Time
}

func (Mkfile) source() State { return State{} }

func (m Mkfile) encode(_ *encoding, base int64) *pb.FileAction {
	return &pb.FileAction{Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{
		Path:      m.Path,
		Mode:      int32(m.Mode),
		Data:      m.Data,
		Owner:     m.Owner.encode(base),
		Timestamp: timestamp(m.Created),
	}}}
}

// Remove removes a file or a directory with all that is in it.
type Remove struct {
	Path string
	// AllowMissing accepts that there is nothing.
	AllowMissing bool
	// Wildcard expands Path.
	Wildcard bool
}

func (Remove) source() State { return State{} }

func (r Remove) encode(e *encoding, _ int64) *pb.FileAction {
	e.needIf(r.Wildcard, "file.rm.wildcard")
	return &pb.FileAction{Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{
		Path:          r.Path,
		AllowNotFound: r.AllowMissing,
		AllowWildcard: r.Wildcard,
	}}}
}

// Symlink makes a symbolic link.
type Symlink struct {
	// Target is the text of the link, Path where it is made.
	Target, Path string
	Owner        *Owner
	// Created sets the time; nil means now.
	Created *time.Time
}

func (Symlink) source() State { return State{} }

func (s Symlink) encode(e *encoding, base int64) *pb.FileAction {
	e.need("file.symlink.create")
	return &pb.FileAction{Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{
		Oldpath:   s.Target,
		Newpath:   s.Path,
		Owner:     s.Owner.encode(base),
		Timestamp: timestamp(s.Created),
	}}}
}
