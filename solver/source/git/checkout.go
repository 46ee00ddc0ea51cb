package git

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/ref"
)

// checkout writes a commit into a new layer.
func (s *Source) checkout(ctx context.Context, a *access, sp *spec, r resolved) (out *ref.Ref, err error) {
	active, err := s.cfg.Refs.Prepare(ctx, nil, ref.WithRecordType(ref.TypeGitCheckout),
		ref.WithDescription(fmt.Sprintf("git snapshot for %s#%s", sp.remote, sp.ref)))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, active.Discard(context.WithoutCancel(ctx)))
		}
	}()
	dir, release, err := active.Dir(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{source: s, access: a, spec: sp}
	top := tree{remote: sp.remote, want: want{ref: r.Ref, id: r.Checksum, only: sp.fetchByCommit}, dir: dir, subdir: sp.subdir}
	if sp.keepGitDir && sp.subdir == "" {
		top.repository = filepath.Join(dir, ".git")
	}
	err = w.write(ctx, top, 0)
	if err == nil && sp.openModes {
		err = openModes(dir)
	}
	if err == nil && sp.commitTime {
		err = setTimes(dir, time.Unix(w.time, 0))
	}
	if err := errors.Join(err, release()); err != nil {
		return nil, err
	}
	return active.Commit(ctx)
}

// writer writes the trees of one checkout.
type writer struct {
	source *Source
	access *access
	spec   *spec
	// time of the first tree's commit, if the spec wants it.
	time int64
	// trees counts, for maxTrees.
	trees int
}

// tree is one repository's part of a checkout.
type tree struct {
	remote remote
	want   want
	// dir is where the files go, an absolute path; it exists and is empty.
	dir string
	// subdir of the repository that they are from.
	subdir string
	// repository is where the tree's own repository is made, if it is kept.
	repository string
}

// write writes a tree, and then its submodules, without the lock of its mirror.
func (w *writer) write(ctx context.Context, t tree, depth int) error {
	if w.trees++; w.trees > maxTrees || depth > maxDepth {
		return fmt.Errorf("more than %d submodules, or nested more than %d deep: %w", maxTrees, maxDepth, errdefs.ErrResourceExhausted)
	}
	below, err := w.locked(ctx, t, depth)
	if err != nil {
		return err
	}
	for _, sub := range below {
		if err := w.write(ctx, sub, depth+1); err != nil {
			return fmt.Errorf("failed to update submodules for %s: %w", t.remote, err)
		}
	}
	return nil
}

// locked does what needs the mirror, and returns the trees of the submodules.
// If the subdirectory is in a submodule, nothing is written and it is the one.
func (w *writer) locked(ctx context.Context, t tree, depth int) (below []tree, err error) {
	m, err := w.open(ctx, t, depth)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close(context.WithoutCancel(ctx))) }()
	commit, err := m.complete(ctx, t.want)
	if err != nil {
		return nil, err
	}
	if depth == 0 && w.spec.commitTime {
		if w.time, err = m.time(ctx, commit); err != nil {
			return nil, err
		}
	}
	v := &view{mirror: m, commit: commit, remote: t.remote}
	if !w.spec.skipSubmodules {
		if err := v.readModules(ctx); err != nil {
			return nil, fmt.Errorf("submodules of %s: %w", t.remote, err)
		}
	}
	if t.subdir != "" {
		inner, err := v.enter(ctx, t)
		if inner != nil || err != nil {
			return inner, err
		}
	}
	index := filepath.Join(w.access.dir, "index"+strconv.Itoa(w.trees))
	switch {
	case t.repository != "":
		err = v.populate(ctx, t)
	case t.subdir != "":
		err = v.extractSubdir(ctx, t, index)
	default:
		_, err = m.git.local().in(m.dir, t.dir).withIndex(index).run(ctx, "read-tree", "--reset", "-u", commit)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to checkout remote %s: %w", t.remote, err)
	}
	return v.below(ctx, t)
}

// open opens the mirror of a tree. Only the first may come from a bundle.
func (w *writer) open(ctx context.Context, t tree, depth int) (*mirror, error) {
	if depth == 0 {
		return w.source.mirrorOf(ctx, w.access, w.spec, t.want.id)
	}
	return w.source.openMirror(ctx, w.access.command, t.remote, mirrorKind{format: format(t.want.id)})
}

// view is a commit in a locked mirror.
type view struct {
	mirror *mirror
	commit string
	remote remote
	// modules by path.
	modules map[string]module
}

// time returns the committer's time of a commit, in seconds since the epoch.
func (m *mirror) time(ctx context.Context, commit string) (int64, error) {
	text, err := m.git.local().line(ctx, "log", "-1", "--no-show-signature", "--format=%ct", "--end-of-options", commit)
	if err != nil {
		return 0, fmt.Errorf("failed to get commit time for %s: %w", m.remote, err)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("commit %s of %s has time %q: %w", commit, m.remote, text, errdefs.ErrInvalidArgument)
	}
	return n, nil
}

// entry returns mode and id of a path in the commit; an empty mode if there is
// none. The path is literal and its directories are those of the commit: links
// are not followed.
func (v *view) entry(ctx context.Context, path string) (mode, id string, err error) {
	out, err := v.mirror.git.local().run(ctx, "--literal-pathspecs", "ls-tree", "-z", "--full-tree", v.commit, "--", path)
	if err != nil {
		return "", "", err
	}
	for rec := range strings.SplitSeq(string(out), "\x00") {
		info, name, ok := strings.Cut(rec, "\t")
		fields := strings.Fields(info)
		if ok && name == path && len(fields) == 3 {
			return fields[0], fields[2], nil
		}
	}
	return "", "", nil
}

// Modes of entries that are not files.
const (
	modeTree    = "040000"
	modeGitlink = "160000"
)

// enter checks that the subdirectory is one of the commit, all the way. If the
// way leads into a submodule, that is returned instead.
func (v *view) enter(ctx context.Context, t tree) ([]tree, error) {
	parts := strings.Split(t.subdir, "/")
	for i := range parts {
		path := strings.Join(parts[:i+1], "/")
		mode, id, err := v.entry(ctx, path)
		if err != nil {
			return nil, err
		}
		mod, known := v.modules[path]
		switch {
		case mode == modeTree:
		case mode == modeGitlink && known:
			inner, err := v.tree(mod, id)
			inner.dir, inner.subdir = t.dir, strings.Join(parts[i+1:], "/")
			return []tree{inner}, err
		case mode == "":
			return nil, fmt.Errorf("invalid subdir %s: %s does not exist in commit %s: %w", t.subdir, path, v.commit, errdefs.ErrNotFound)
		default:
			return nil, fmt.Errorf("invalid subdir %s: git subpath %q contains non-directory %q: %w", t.subdir, t.subdir, path, errdefs.ErrInvalidArgument)
		}
	}
	return nil, nil
}

// extractSubdir writes a subdirectory alone. The index has the whole commit,
// because attributes of directories above count. What was written is then moved
// through a root that no link leads out of.
func (v *view) extractSubdir(ctx context.Context, t tree, index string) (err error) {
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	// Nobody can have a file of that name ready.
	scratch := ".kiln-" + rand.Text()
	if err := root.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	git := v.mirror.git.local().in(v.mirror.dir, filepath.Join(t.dir, scratch)).withIndex(index)
	if _, err := git.run(ctx, "read-tree", v.commit); err != nil {
		return err
	}
	if _, err := git.run(ctx, "--literal-pathspecs", "checkout", "--quiet", "--force", "--", t.subdir); err != nil && !said(err, "did not match any file") {
		return err
	}
	from := scratch + "/" + t.subdir
	names, err := fs.ReadDir(root.FS(), from)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := root.Rename(from+"/"+n.Name(), n.Name()); err != nil {
			return err
		}
	}
	return root.RemoveAll(scratch)
}

// populate makes a repository with the one commit and checks it out.
func (v *view) populate(ctx context.Context, t tree) error {
	git := v.mirror.git.local().in(t.repository, t.dir)
	if err := initRepository(ctx, git, t, format(v.commit)); err != nil {
		return err
	}
	refspec := "+" + t.want.id
	if t.want.ref != "" && !isCommit(t.want.ref) {
		refspec += ":" + t.want.ref
	}
	for _, args := range [][]string{
		// By protocol, so that nothing of this machine is linked to.
		{"fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--update-head-ok", "--", v.mirror.url(), refspec},
		{"update-ref", "--no-deref", "HEAD", v.commit},
		{"read-tree", "--reset", "-u", v.commit},
		{"config", "remote.origin.url", t.remote.url},
		{"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
	} {
		if _, err := git.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// initRepository makes an empty repository at t.repository. One that is not in
// its tree, a submodule's, is found from there by a file.
func initRepository(ctx context.Context, git *command, t tree, format string) error {
	if err := os.MkdirAll(t.repository, 0o755); err != nil {
		return err
	}
	if _, err := git.in(t.repository, "").run(ctx, "init", "--quiet", "--bare", "--template=", "--object-format="+format); err != nil {
		return err
	}
	settings := [][]string{{"config", "core.bare", "false"}}
	if filepath.Dir(t.repository) != t.dir {
		back, err := filepath.Rel(t.repository, t.dir)
		if err != nil {
			return err
		}
		there, err := filepath.Rel(t.dir, t.repository)
		if err != nil {
			return err
		}
		settings = append(settings, []string{"config", "core.worktree", back})
		if err := os.WriteFile(filepath.Join(t.dir, ".git"), []byte("gitdir: "+there+"\n"), 0o644); err != nil {
			return err
		}
	}
	for _, args := range settings {
		if _, err := git.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// openModes lets everybody write to the files below dir that are no programs.
// Links are not followed.
func openModes(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Mode()&0o111 != 0 {
			return err
		}
		return os.Chmod(p, info.Mode().Perm()|0o222)
	})
}

// setTimes gives everything below dir the same time, directories after what is
// in them. Links are not followed.
func setTimes(dir string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return fmt.Errorf("commit time %v: %w", t, err)
	}
	var paths []string
	err = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		paths = append(paths, p)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(paths) {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &fs.PathError{Op: "utimensat", Path: filepath.Base(p), Err: err}
		}
	}
	return nil
}
