package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// maxSocketDir is how long the path of a socket's directory may be: addresses
// of sockets have 108 bytes, the last one is zero, and the name comes after.
const maxSocketDir = 107 - len("/agent.sock")

// ssh mounts a socket behind which is an SSH agent of the client, or any other
// socket that the client gives out raw. An optional one that no client forwards
// is left out.
func (s *setup) ssh(ctx context.Context, m *pb.Mount) error {
	opt := m.GetSSHOpt()
	dir, err := s.socketDir()
	if err != nil {
		return err
	}
	// The socket lives until the run is over, whatever becomes of ctx: the
	// process may want it for its last words. Close ends it.
	agent, err := s.op.cfg.Sessions.ForwardAgent(ctx, s.env.Sessions(), opt.GetID(), dir)
	if err != nil {
		// Clients say in many ways that they have no such agent.
		if opt.GetOptional() && ctx.Err() == nil {
			return nil
		}
		return err
	}
	s.later(func(context.Context) error { return agent.Close() })
	if err := os.Chown(agent.Path, int(opt.GetUid()), int(opt.GetGid())); err != nil {
		return fmt.Errorf("SSH agent %s: %w", opt.GetID(), err)
	}
	if err := os.Chmod(agent.Path, fs.FileMode(opt.GetMode())&fs.ModePerm); err != nil {
		return fmt.Errorf("SSH agent %s: %w", opt.GetID(), err)
	}
	s.mounts = append(s.mounts, executor.Mount{
		Dest: s.dest(m), Source: staticMount{mount.Mount{Type: "bind", Source: agent.Path, Options: []string{"rbind"}}},
	})
	return nil
}

// socketDir makes a directory for one socket that only this user can enter.
func (s *setup) socketDir() (string, error) {
	dir, err := os.MkdirTemp(s.op.cfg.SecretDir, "ssh-")
	if err == nil && len(dir) > maxSocketDir {
		err = os.Remove(dir)
		if err == nil {
			dir, err = os.MkdirTemp("", "kiln-ssh-")
		}
	}
	if err != nil {
		return "", fmt.Errorf("make directory for the agent's socket: %w", err)
	}
	dir = filepath.Clean(dir)
	s.later(func(context.Context) error {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	return dir, nil
}
