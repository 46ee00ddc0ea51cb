package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/ref"
)

const (
	// busyFile is in a mirror while somebody may be writing to it.
	busyFile = "kiln-busy"
	// maxPacks is how many fetches are collected before they become one pack.
	maxPacks = 50
)

// mirror is the local repository of one remote, locked and ready.
type mirror struct {
	remote remote
	git    *command
	dir    string
	// bundle brings the objects instead of the remote, if it is not nil: it
	// returns the path of a file that stays until the access is closed.
	bundle func(ctx context.Context) (path string, err error)
	// deep says that the mirror has the history of what it has.
	deep bool
	// damaged says that a command failed, which may have left locks behind.
	damaged bool
	closed  func(context.Context) error
}

// mirrorKind says which of the mirrors of a remote is meant.
type mirrorKind struct {
	// format of ids: "sha1" or "sha256".
	format string
	// deep is for mirrors with histories.
	deep bool
	// bundle is the digest of the one whose objects the mirror has; it has no
	// others, because nobody else vouches for them.
	bundle digest.Digest
}

// key is the mirror's name among mutable refs.
func (k mirrorKind) key(rem remote) string {
	switch {
	case k.bundle != "":
		return "git bundle " + k.format + " " + k.bundle.String()
	case k.deep:
		return "git mirror with history " + k.format + " " + rem.url
	}
	return "git mirror " + k.format + " " + rem.url
}

// openMirror returns a mirror for a remote. The caller closes it, which gives
// the lock back.
func (s *Source) openMirror(ctx context.Context, git *command, rem remote, kind mirrorKind) (*mirror, error) {
	key := kind.key(rem)
	unlock, err := s.locks.lock(ctx, key)
	if err != nil {
		return nil, err
	}
	active, err := s.cfg.Refs.Mutable(ctx, key, nil, ref.WithRecordType(ref.TypeGitCheckout), ref.WithDescription("shared git repo for "+rem.String()))
	if err != nil {
		unlock()
		return nil, fmt.Errorf("open mirror of %s: %w", rem, err)
	}
	dir, release, err := active.Dir(ctx)
	if err != nil {
		err = errors.Join(err, active.Release(context.WithoutCancel(ctx)))
		unlock()
		return nil, fmt.Errorf("open mirror of %s: %w", rem, err)
	}
	m := &mirror{remote: rem, git: git.in(dir, ""), dir: dir, deep: kind.deep}
	m.closed = func(ctx context.Context) error {
		defer unlock()
		return errors.Join(release(), active.Release(ctx))
	}
	if err := m.prepare(ctx, kind.format); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare mirror of %s: %w", rem, err), m.close(context.WithoutCancel(ctx)))
	}
	return m, nil
}

// close gives the mirror back.
func (m *mirror) close(ctx context.Context) error {
	if !m.damaged {
		_ = os.Remove(filepath.Join(m.dir, busyFile))
	}
	return m.closed(ctx)
}

// prepare makes a new mirror, and frees one that was in use when a process
// ended from the locks of that.
func (m *mirror) prepare(ctx context.Context, format string) error {
	busy := filepath.Join(m.dir, busyFile)
	_, err := os.Lstat(busy)
	if err == nil {
		err = m.unlockStale()
	} else if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(busy, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(m.dir, "HEAD")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = m.git.run(ctx, "init", "--quiet", "--bare", "--template=", "--object-format="+format)
	return err
}

// unlockStale removes lock files. Nobody has them: the mirror's lock is ours,
// and the process that made them has ended.
func (m *mirror) unlockStale() error {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(p, ".lock") {
			return root.Remove(p)
		}
		return err
	})
}

// reset empties a mirror that is of no use.
func (m *mirror) reset(ctx context.Context, format string) error {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	names, err := fs.ReadDir(root.FS(), ".")
	for _, n := range names {
		err = errors.Join(err, root.RemoveAll(n.Name()))
	}
	if err != nil {
		return fmt.Errorf("empty mirror of %s: %w", m.remote, err)
	}
	return m.prepare(ctx, format)
}

// format of the ids of a repository that has id.
func format(id string) string {
	if len(id) == 64 {
		return "sha256"
	}
	return "sha1"
}

// commit returns the commit behind an id, or "" if it is not there with its
// files.
func (m *mirror) commit(ctx context.Context, id string) string {
	git := m.git.local()
	if _, err := git.run(ctx, "cat-file", "-e", id+"^{tree}"); err != nil {
		return ""
	}
	c, err := git.line(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", id+"^{commit}")
	if err != nil || !isCommit(c) {
		return ""
	}
	return c
}

// want names an object to fetch.
type want struct {
	// ref that had the object when we looked; empty if none is known.
	ref string
	id  string
	// only says that nothing but the object may be fetched.
	only bool
}

// complete brings the object into the mirror and returns its commit. A mirror
// that turns out to be damaged is made anew once.
func (m *mirror) complete(ctx context.Context, w want) (string, error) {
	if c := m.commit(ctx, w.id); c != "" {
		return c, nil
	}
	err := m.fetch(ctx, w)
	if said(err, "bad object", "corrupt", "is empty", "unable to read", "inflate", "did not send all necessary objects", ".lock'", "loose object", "broken") {
		if rerr := m.reset(ctx, format(w.id)); rerr != nil {
			return "", errors.Join(err, rerr)
		}
		err = m.fetch(ctx, w)
	}
	if err != nil {
		m.damaged = true
		return "", fmt.Errorf("failed to fetch remote %s: %w", m.remote, err)
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	c := m.commit(ctx, w.id)
	if c == "" && m.bundle != nil {
		return "", fmt.Errorf("commit %s not found in bundle for %s: %w", w.id, m.remote, errdefs.ErrNotFound)
	}
	if c == "" {
		return "", fmt.Errorf("object %s of remote %s is not a commit or its tag: %w", w.id, m.remote, errdefs.ErrInvalidArgument)
	}
	return c, m.pack(ctx)
}

// fetch tries from the cheapest to the dearest: the reference without history,
// the object without history, everything.
func (m *mirror) fetch(ctx context.Context, w want) error {
	if m.bundle != nil {
		return m.unbundle(ctx)
	}
	if w.ref != "" && !w.only && !isCommit(w.ref) {
		// Names of remotes are not used here: they could get into each
		// other's way, as "a" and "a/b" do.
		sum := sha256.Sum256([]byte(w.ref))
		err := m.shallow(ctx, "+"+w.ref+":refs/kiln/ref/"+hex.EncodeToString(sum[:16]))
		if err != nil && !said(err, "couldn't find remote ref", "no such remote ref") {
			return err
		}
		if m.commit(ctx, w.id) != "" {
			return nil
		}
		// The reference has moved since.
	}
	err := m.shallow(ctx, "+"+w.id+":refs/kiln/id/"+w.id)
	if err == nil || w.only || !said(err, "not our ref", "unadvertised object", "no such remote ref", "couldn't find remote ref") {
		return err
	}
	args := []string{"fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--prune", "--force"}
	if _, err := os.Lstat(filepath.Join(m.dir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	if _, ferr := m.git.run(ctx, append(args, "--", m.remote.url, "+refs/heads/*:refs/kiln/all/heads/*", "+refs/tags/*:refs/kiln/all/tags/*")...); ferr != nil {
		return ferr
	}
	if m.commit(ctx, w.id) == "" {
		return err
	}
	return nil
}

// shallow fetches one object without its history, or with it where that is
// wanted or the server cannot leave it out.
func (m *mirror) shallow(ctx context.Context, refspec string) error {
	args := []string{"fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--force", "--depth=1", "--", m.remote.url, refspec}
	deep := append(args[:5:5], args[6:]...)
	if m.deep {
		args = deep
	}
	_, err := m.git.run(ctx, args...)
	if said(err, "shallow", "--depth") {
		_, err = m.git.run(ctx, deep...)
	}
	return err
}

// pack makes one pack of many.
func (m *mirror) pack(ctx context.Context) error {
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) < maxPacks {
		return err
	}
	if _, err := m.git.local().run(ctx, "gc", "--quiet", "--prune=now"); err != nil {
		return fmt.Errorf("pack mirror of %s: %w", m.remote, err)
	}
	return nil
}

// url is the mirror as a remote of other repositories. By that protocol nothing
// is shared between them.
func (m *mirror) url() string { return (&url.URL{Scheme: "file", Path: m.dir}).String() }
