package runc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxAccounts bounds what is read of passwd and group files, in bytes: an
// image can hold files of any size.
const maxAccounts = 4 << 20

// lookupUser resolves a user in a root file system. Empty is root.
func lookupUser(root, name string) (specs.User, error) {
	if strings.Count(name, ":") > 1 {
		return specs.User{}, fmt.Errorf("invalid user %q, want user[:group]: %w", name, errdefs.ErrInvalidArgument)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return specs.User{}, err
	}
	defer r.Close()
	passwd, err := openAccounts(r, "etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	defer passwd.Close()
	group, err := openAccounts(r, "etc/group")
	if err != nil {
		return specs.User{}, err
	}
	defer group.Close()
	u, err := user.GetExecUser(name, &user.ExecUser{}, io.LimitReader(passwd, maxAccounts), io.LimitReader(group, maxAccounts))
	if err != nil {
		return specs.User{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	out := specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}
	// A process that leaves its group must not gain what the group is denied,
	// so the group is among the supplementary ones too.
	if !slices.Contains(u.Sgids, u.Gid) {
		out.AdditionalGids = append(out.AdditionalGids, uint32(u.Gid))
	}
	for _, g := range u.Sgids {
		out.AdditionalGids = append(out.AdditionalGids, uint32(g))
	}
	return out, nil
}

// openAccounts opens a file of accounts; a missing one, or one that is no
// regular file, is empty.
func openAccounts(r *os.Root, name string) (io.ReadCloser, error) {
	empty := io.NopCloser(strings.NewReader(""))
	fi, err := r.Stat(name)
	if err != nil || !fi.Mode().IsRegular() {
		// Links that lead out of the root are not followed: no such file.
		return empty, nil //nolint:nilerr // absence is not an error
	}
	f, err := r.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	return f, err
}
