package exec

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// lockPoll is how often a step that waits for a locked cache mount looks.
const lockPoll = 100 * time.Millisecond

// maxPrivate bounds how many copies of a private cache mount exist.
const maxPrivate = 1000

// cachePrefix starts the names of cache mounts among mutable refs.
const cachePrefix = "cache-dir:"

// cacheName is the name of a cache mount without what it started from.
func cacheName(m *pb.Mount) string {
	id := m.GetCacheOpt().GetID()
	if id == "" {
		id = m.GetDest()
	}
	return cachePrefix + id
}

// ForgetCaches removes what the cache mounts of op hold, whatever they started
// from: a user who wants a step to run without any cache means these as well.
// What another step uses at the moment stays.
func ForgetCaches(ctx context.Context, refs *ref.Store, op *pb.ExecOp) error {
	var names []string
	for _, m := range op.GetMounts() {
		if m.GetMountType() == pb.MountType_CACHE {
			names = append(names, cacheName(m))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return refs.ForgetMutable(ctx, func(key string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			rest, ok := strings.CutPrefix(key, name)
			return ok && (rest == "" || rest[0] == ':' || rest[0] == '#')
		})
	})
}

// cache mounts a directory that outlives the build.
func (s *setup) cache(ctx context.Context, m *pb.Mount) error {
	base, _, err := s.input(m)
	if err != nil {
		return err
	}
	name := cacheName(m)
	if base != nil {
		name += ":" + base.ID()
	}
	a := s.caches[name]
	if a == nil {
		if a, err = s.openCache(ctx, m, name, base); err != nil {
			return err
		}
		s.caches[name] = a
	}
	s.actives[m] = a
	if base == nil || m.GetDest() == rootDest {
		return s.show(ctx, m, a)
	}
	// Steps that share it would not see each other's files through an overlay
	// each.
	dir, release, err := a.Dir(ctx)
	if err != nil {
		return err
	}
	s.later(func(context.Context) error { return release() })
	s.mounts = append(s.mounts, executor.Mount{
		Dest: s.dest(m), Source: staticMount{{Type: "bind", Source: dir, Options: []string{"rbind", "rw"}}},
		Selector: m.GetSelector(), Readonly: m.GetReadonly(),
	})
	return nil
}

// openCache opens the directory as the sharing mode wants it. A step that
// mounts it twice has one lock on it.
func (s *setup) openCache(ctx context.Context, m *pb.Mount, key string, base *ref.Ref) (*ref.Active, error) {
	var err error
	switch m.GetCacheOpt().GetSharing() {
	case pb.CacheSharingOpt_LOCKED:
		err = s.waitLock(ctx, key)
	case pb.CacheSharingOpt_PRIVATE:
		key, err = s.freeCopy(key)
	}
	if err != nil {
		return nil, err
	}
	a, err := s.op.cfg.Refs.Mutable(ctx, key, base, ref.WithRecordType(ref.TypeCacheMount),
		ref.WithDescription(fmt.Sprintf("cached mount %s from exec %s", m.GetDest(), s.op.name)))
	if err != nil {
		return nil, err
	}
	s.later(a.Release)
	return a, nil
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
