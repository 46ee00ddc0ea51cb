package exec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// secret mounts a secret as a file that never touches a disk: it lies in a
// directory in memory until the process has ended.
func (s *setup) secret(ctx context.Context, m *pb.Mount) error {
	opt := m.GetSecretOpt()
	data, err := s.op.cfg.Sessions.Secret(ctx, s.env.Sessions(), opt.GetID())
	if err != nil {
		if opt.GetOptional() && errors.Is(err, errdefs.ErrNotFound) {
			return nil
		}
		return err
	}
	mode := fs.FileMode(opt.GetMode()) & fs.ModePerm
	name := filepath.Join(s.op.cfg.SecretDir, rand.Text())
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return fmt.Errorf("store secret %s: %w", opt.GetID(), err)
	}
	s.later(func(context.Context) error { return os.Remove(name) })
	if err := os.Chown(name, int(opt.GetUid()), int(opt.GetGid())); err != nil {
		return fmt.Errorf("secret %s: %w", opt.GetID(), err)
	}
	if err := os.Chmod(name, mode); err != nil {
		return fmt.Errorf("secret %s: %w", opt.GetID(), err)
	}
	options := []string{"rbind", "ro", "nodev", "nosuid"}
	if mode&0o111 == 0 {
		options = append(options, "noexec")
	}
	s.mounts = append(s.mounts, executor.Mount{
		Dest: s.dest(m), Source: staticMount{mount.Mount{Type: "bind", Source: name, Options: options}}, Readonly: true,
	})
	return nil
}

// file adds a file that is no secret, but as short-lived.
func (s *setup) file(f executor.File) error {
	name := filepath.Join(s.op.cfg.SecretDir, rand.Text())
	if err := os.WriteFile(name, f.Data, 0o444); err != nil {
		return fmt.Errorf("store file %s: %w", f.Dest, err)
	}
	s.later(func(context.Context) error { return os.Remove(name) })
	s.mounts = append(s.mounts, executor.Mount{
		Dest: f.Dest, Source: staticMount{{Type: "bind", Source: name, Options: []string{"rbind", "ro"}}}, Readonly: true,
	})
	return nil
}

// secretEnv asks for secrets that become variables. A missing optional one is
// an empty variable.
func (o *Op) secretEnv(ctx context.Context, env solver.Env, list []*pb.SecretEnv) ([]string, error) {
	var out []string
	for _, s := range list {
		value, err := o.cfg.Sessions.Secret(ctx, env.Sessions(), s.GetID())
		if err != nil && (!s.GetOptional() || !errors.Is(err, errdefs.ErrNotFound)) {
			return nil, err
		}
		out = append(out, s.GetName()+"="+string(value))
	}
	return out, nil
}
