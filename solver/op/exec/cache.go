package exec

import (
	"context"
	"fmt"
	"strconv"
	"time"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// lockPoll is how often a step that waits for a locked cache mount looks.
const lockPoll = 100 * time.Millisecond

// maxPrivate bounds how many copies of a private cache mount exist.
const maxPrivate = 1000

// cache mounts a directory that outlives the build.
func (s *setup) cache(ctx context.Context, m *pb.Mount) error {
	base, _, err := s.input(m)
	if err != nil {
		return err
	}
	key := m.GetCacheOpt().GetID()
	if key == "" {
		key = m.GetDest()
	}
	if base != nil {
		key += ":" + base.ID()
	}
	key = "cache-dir:" + key
	switch m.GetCacheOpt().GetSharing() {
	case pb.CacheSharingOpt_LOCKED:
		err = s.waitLock(ctx, key)
	case pb.CacheSharingOpt_PRIVATE:
		key, err = s.freeCopy(key)
	}
	if err != nil {
		return err
	}
	a, err := s.op.cfg.Refs.Mutable(ctx, key, base, ref.WithRecordType(ref.TypeCacheMount),
		ref.WithDescription(fmt.Sprintf("cached mount %s from exec %s", m.GetDest(), s.op.name)))
	if err != nil {
		return err
	}
	s.later(a.Release)
	return s.show(ctx, m, a)
}

// waitLock waits until no other step uses the mount.
func (s *setup) waitLock(ctx context.Context, key string) error {
	for {
		if unlock, ok := s.op.cfg.Refs.LockMutable(key); ok {
			s.later(func(context.Context) error { unlock(); return nil })
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// freeCopy finds a copy of a private mount that nobody uses.
func (s *setup) freeCopy(key string) (string, error) {
	for i := range maxPrivate {
		name := key
		if i > 0 {
			name += "#" + strconv.Itoa(i)
		}
		if unlock, ok := s.op.cfg.Refs.LockMutable(name); ok {
			s.later(func(context.Context) error { unlock(); return nil })
			return name, nil
		}
	}
	return "", fmt.Errorf("more than %d steps use private cache mount %s at once", maxPrivate, key)
}
