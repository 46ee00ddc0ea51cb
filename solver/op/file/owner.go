package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// maxUserFile bounds /etc/passwd and /etc/group of an image, which may be made
// to be large.
const maxUserFile = 10 << 20

// lookupOwner finds out who is meant; nil if nobody is. A name that is not
// there is root (wire format fact). A user without a group brings its own: that
// of its line, or the one with its number.
func lookupOwner(ctx context.Context, opt *pb.ChownOpt, input func(int64) (*ref.Ref, error)) (*owner, error) {
	if opt == nil {
		return nil, nil
	}
	var o owner
	switch u := opt.GetUser().GetUser().(type) {
	case *pb.UserOpt_ByName:
		data, err := userFile(ctx, u.ByName, input, passwdFile)
		if err != nil {
			return nil, err
		}
		users, err := user.ParsePasswdFilter(bytes.NewReader(data), func(x user.User) bool { return x.Name == u.ByName.GetName() })
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", passwdFile, err)
		}
		if len(users) > 0 {
			o = owner{users[0].Uid, users[0].Gid}
		}
	case *pb.UserOpt_ByID:
		o = owner{int(u.ByID), int(u.ByID)}
	}
	switch g := opt.GetGroup().GetUser().(type) {
	case *pb.UserOpt_ByName:
		data, err := userFile(ctx, g.ByName, input, groupFile)
		if err != nil {
			return nil, err
		}
		groups, err := user.ParseGroupFilter(bytes.NewReader(data), func(x user.Group) bool { return x.Name == g.ByName.GetName() })
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", groupFile, err)
		}
		if len(groups) > 0 {
			o.gid = groups[0].Gid
		}
	case *pb.UserOpt_ByID:
		o.gid = int(g.ByID)
	}
	return &o, nil
}

// userFile reads a file of users. One that is not there is empty.
func userFile(ctx context.Context, name *pb.NamedUserOpt, input func(int64) (*ref.Ref, error), file string) ([]byte, error) {
	r, err := input(name.GetInput())
	if err != nil || r == nil {
		return nil, err
	}
	data, err := r.ReadFile(ctx, file, 0, maxUserFile+1)
	switch {
	// ENOTDIR: /etc is a file.
	case errdefs.IsNotFound(err) || errors.Is(err, unix.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up %q: %w", name.GetName(), err)
	case len(data) > maxUserFile:
		return nil, fmt.Errorf("look up %q: %s is larger than %d bytes: %w", name.GetName(), file, maxUserFile, errdefs.ErrOutOfRange)
	}
	return data, nil
}
