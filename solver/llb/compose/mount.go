package compose

import (
	"slices"
	"strings"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// MountType is the kind of a Mount.
type MountType int

// Kinds of mounts.
const (
	// Bind shows a State, and becomes an output unless told otherwise.
	Bind MountType = iota
	// Secret is a file with a secret of the client.
	Secret
	// SSH is a socket of the client's agent.
	SSH
	// Cache is a directory that outlives the build.
	Cache
	// Tmpfs is a directory in memory that ends with the process.
	Tmpfs
)

// Sharing says what happens when two processes want one cache.
type Sharing int

// Ways to share a cache.
const (
	// Shared lets both use it at once.
	Shared Sharing = iota
	// Private gives the second another one.
	Private
	// Locked lets the second wait.
	Locked
)

// ContentCache says whether the bytes below a mount, and not how they were
// made, take part in the cache key.
type ContentCache int

// Choices of ContentCache.
const (
	ContentDefault ContentCache = iota
	ContentOn
	ContentOff
)

// Mount is one mount of an Exec.
type Mount struct {
	// Dest is an absolute path. For SSH it may be empty: the socket is then
	// put below /run/buildkit.
	Dest string
	Type MountType
	// Source is what a Bind shows or what a Cache starts with.
	Source State
	// Selector is a path in Source to show in place of its root.
	Selector string
	// ReadOnly forbids writing.
	ReadOnly bool
	// NoOutput drops what is written to a Bind.
	NoOutput bool
	// Content chooses the cache key of a Bind.
	Content ContentCache
	// ID names a Secret or an SSH agent of the client, or a Cache. Empty
	// means Dest for Secret and Cache, the default agent for SSH.
	ID string
	// Sharing of a Cache.
	Sharing Sharing
	// Size of a Tmpfs in bytes; 0 means the kernel's default.
	Size int64
	// UID, GID and Mode are those of the file of a Secret or SSH. A nil Mode
	// means 0400 for Secret and 0600 for SSH.
	UID, GID uint32
	Mode     *uint32
	// Optional lets the process run without the Secret or SSH.
	Optional bool
}

// hasOutput reports whether what is written to the mount is kept.
func (m Mount) hasOutput() bool {
	return m.Type == Bind && !m.ReadOnly && !m.NoOutput
}

// sortMounts brings mounts into the order in which they are written: those
// with directories by destination, then secrets, then agents.
func sortMounts(mounts []Mount) []Mount {
	class := func(m Mount) int {
		switch m.Type {
		case Secret:
			return 1
		case SSH:
			return 2
		}
		return 0
	}
	sorted := slices.Clone(mounts)
	slices.SortStableFunc(sorted, func(a, b Mount) int {
		if d := class(a) - class(b); d != 0 || class(a) != 0 {
			return d
		}
		return strings.Compare(a.Dest, b.Dest)
	})
	return sorted
}

// encode writes the mount; output is its output index.
func (m Mount) encode(e *encoding, output int64) *pb.Mount {
	out := &pb.Mount{
		Input:     scratchIndex,
		Dest:      m.Dest,
		Output:    output,
		MountType: pb.MountType(m.Type),
	}
	switch m.Type {
	case Secret:
		e.need("exec.mount.secret")
		out.SecretOpt = &pb.SecretOpt{ID: or(m.ID, m.Dest), Uid: m.UID, Gid: m.GID, Mode: m.mode(0o400), Optional: m.Optional}
		return out
	case SSH:
		e.need("exec.mount.ssh")
		out.SSHOpt = &pb.SSHOpt{ID: m.ID, Uid: m.UID, Gid: m.GID, Mode: m.mode(0o600), Optional: m.Optional}
		return out
	case Cache:
		e.need("exec.mount.cache", "exec.mount.cache.sharing")
		out.CacheOpt = &pb.CacheOpt{ID: or(m.ID, m.Dest), Sharing: pb.CacheSharingOpt(m.Sharing)}
	case Tmpfs:
		e.need("exec.mount.tmpfs")
		e.needIf(m.Size > 0, "exec.mount.tmpfs.size")
		out.TmpfsOpt = &pb.TmpfsOpt{Size: m.Size}
	default:
		e.needIf(!m.Source.IsScratch(), "exec.mount.bind")
		e.needIf(m.NoOutput && !m.ReadOnly, "exec.mount.bind.readwrite-nooutput")
	}
	e.needIf(m.Selector != "", "exec.mount.selector")
	e.needIf(m.Content != ContentDefault, "exec.mount.cache.content")
	out.Input = e.input(m.Source)
	out.Selector = m.Selector
	out.Readonly = m.ReadOnly
	out.ContentCache = pb.MountContentCache(m.Content)
	return out
}

func (m Mount) mode(def uint32) uint32 {
	if m.Mode != nil {
		return *m.Mode
	}
	return def
}

// or returns the first text that is not empty.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
