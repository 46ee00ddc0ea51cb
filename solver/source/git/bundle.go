package git

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
)

const (
	// bundleFile is what the file of a checkout as a bundle is called, and
	// bundleRef the name of the commit in it that has no other.
	bundleFile = "bundle"
	bundleRef  = "refs/heads/main"
	// bundleRefs is where a bundle's references are in its mirror.
	bundleRefs = "refs/kiln/bundle/"
)

const (
	// maxBundleLine and maxBundleLines bound the header of a bundle.
	maxBundleLine  = 4 << 10
	maxBundleLines = 100_000
)

// bundleHeader is what stands before the objects in a bundle.
type bundleHeader struct {
	// format of ids: "sha1" or "sha256".
	format string
	// refs are ids by reference.
	refs map[string]string
}

// errBundle is the kind of all errors of headers.
var errBundle = fmt.Errorf("not a git bundle that can be read: %w", errdefs.ErrInvalidArgument)

// readBundleHeader reads the header of a bundle. Bundles that build on commits
// which are not in them, or leave objects out, are refused: there would be
// nothing to check out.
func readBundleHeader(r *bufio.Reader) (*bundleHeader, error) {
	h := &bundleHeader{format: "sha1", refs: map[string]string{}}
	for n := 0; ; n++ {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		switch {
		case n == 0:
			if line != "# v2 git bundle" && line != "# v3 git bundle" {
				return nil, fmt.Errorf("%w: it begins with %.40q", errBundle, line)
			}
		case n > maxBundleLines:
			return nil, fmt.Errorf("%w: the header has more than %d lines", errBundle, maxBundleLines)
		case line == "":
			return h, nil
		case line[0] == '-':
			return nil, fmt.Errorf("%w: it needs commit %.64q, which is not in it", errBundle, line[1:])
		case line[0] == '@':
			name, value, _ := strings.Cut(line[1:], "=")
			if name != "object-format" || value != "sha1" && value != "sha256" {
				return nil, fmt.Errorf("%w: capability %.40q is not supported", errBundle, line[1:])
			}
			h.format = value
		default:
			id, name, _ := strings.Cut(line, " ")
			if !isCommit(id) || format(id) != h.format || checkRef(name) != nil {
				return nil, fmt.Errorf("%w: reference %.80q", errBundle, line)
			}
			h.refs[name] = id
		}
	}
}

// readLine reads one line of at most maxBundleLine bytes, without its end.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxBundleLine:
			return "", fmt.Errorf("%w: a line of the header has more than %d bytes", errBundle, maxBundleLine)
		case err == nil:
			return string(line[:len(line)-1]), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf("%w: it ends in its header", errBundle)
		default:
			return "", fmt.Errorf("read git bundle: %w", err)
		}
	}
}

// mirrorOf opens the mirror that a spec's objects come through. id is one of
// them.
func (s *Source) mirrorOf(ctx context.Context, a *access, sp *spec, id string) (*mirror, error) {
	kind := mirrorKind{format: format(id), deep: sp.asBundle}
	if sp.bundle != nil {
		kind.bundle = sp.bundle.Digest()
	}
	m, err := s.openMirror(ctx, a.command, sp.remote, kind)
	if err != nil || sp.bundle == nil {
		return m, err
	}
	m.bundle = func(ctx context.Context) (string, error) { return s.download(ctx, a, sp, kind.format) }
	return m, nil
}

// download brings the bundle of a spec into a file.
func (s *Source) download(ctx context.Context, a *access, sp *spec, format string) (path string, err error) {
	if s.cfg.Blobs == nil {
		return "", fmt.Errorf("git bundles: this builder has no blobs: %w", errdefs.ErrNotImplemented)
	}
	// The name begins with nothing that could be an option.
	f, err := os.Create(filepath.Join(a.dir, "in-"+rand.Text()))
	if err != nil {
		return "", fmt.Errorf("make file for git bundle: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.cfg.Blobs.Copy(ctx, a.build, f, *sp.bundle); err != nil {
		return "", fmt.Errorf("failed to fetch git bundle: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read git bundle: %w", err)
	}
	h, err := readBundleHeader(bufio.NewReader(f))
	if err == nil && h.format != format {
		err = fmt.Errorf("%w: its ids are %s, the commit's is %s", errBundle, h.format, format)
	}
	return f.Name(), err
}

// unbundle fills a mirror from its bundle.
func (m *mirror) unbundle(ctx context.Context) error {
	path, err := m.bundle(ctx)
	if err != nil {
		return err
	}
	_, err = m.git.local().run(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--", path, "+refs/*:"+bundleRefs+"*")
	return err
}

// bundled resolves a name by the references of a bundle.
func (s *Source) bundled(ctx context.Context, env solver.Env, sp *spec) (_ resolved, err error) {
	a, err := s.newAccess(ctx, env, sp)
	if err != nil {
		return resolved{}, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	m, err := s.mirrorOf(ctx, a, sp, sp.checksum)
	if err != nil {
		return resolved{}, err
	}
	defer func() { err = errors.Join(err, m.close(context.WithoutCancel(ctx))) }()
	if _, err := m.complete(ctx, want{id: sp.checksum}); err != nil {
		return resolved{}, err
	}
	out, err := m.git.local().run(ctx, "for-each-ref", "--format=%(objectname) %(refname)%0a%(*objectname) %(refname)^{}", bundleRefs)
	if err != nil {
		return resolved{}, fmt.Errorf("list references of git bundle: %w", err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if isCommit(id) {
			refs["refs/"+strings.TrimPrefix(name, bundleRefs)] = id
		}
	}
	r, err := choose(refs, sp.ref)
	if err != nil {
		return resolved{}, err
	}
	return r, r.matches(sp)
}

// pack writes a commit and its history as one file into a new layer.
func (s *Source) pack(ctx context.Context, a *access, sp *spec, r resolved) (out *ref.Ref, err error) {
	path, err := s.makeBundle(ctx, a, sp, r)
	if err != nil {
		return nil, err
	}
	active, err := s.cfg.Refs.Prepare(ctx, nil, ref.WithRecordType(ref.TypeGitCheckout),
		ref.WithDescription(fmt.Sprintf("git bundle checkout for %s#%s", sp.remote, sp.ref)))
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
	if err := errors.Join(moveInto(dir, path), release()); err != nil {
		return nil, fmt.Errorf("write git bundle: %w", err)
	}
	return active.Commit(ctx)
}

// makeBundle makes the file in the access's directory. It has one reference,
// called as the user called it, or bundleRef.
func (s *Source) makeBundle(ctx context.Context, a *access, sp *spec, r resolved) (path string, err error) {
	m, err := s.mirrorOf(ctx, a, sp, r.Checksum)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, m.close(context.WithoutCancel(ctx))) }()
	if _, err := m.complete(ctx, want{ref: r.Ref, id: r.Checksum, only: sp.fetchByCommit}); err != nil {
		return "", err
	}
	name := r.Ref
	if !strings.HasPrefix(name, "refs/") {
		name = bundleRef
	}
	// A repository of its own, for references; its objects are the mirror's.
	dir := filepath.Join(a.dir, "pack-"+rand.Text())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for git bundle: %w", err)
	}
	git := m.git.local().in(dir, "")
	git.env = []string{"GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(m.dir, "objects")}
	// One thread packs the same every time.
	git.settings = []setting{{"pack.threads", "1"}}
	path = filepath.Join(a.dir, "out-"+rand.Text())
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--template=", "--object-format=" + format(r.Checksum)},
		{"update-ref", name, r.Checksum},
		{"bundle", "create", "--quiet", path, name},
	} {
		if _, err := git.run(ctx, args...); err != nil {
			return "", fmt.Errorf("failed to create git bundle for %s: %w", r.Checksum, err)
		}
	}
	return path, nil
}

// moveInto copies a file to bundleFile in a directory that nothing leads out
// of, with the times that all new files of checkouts have.
func moveInto(dir, path string) (err error) {
	from, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	to, err := root.OpenFile(bundleFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.Chmod(fs.FileMode(0o644))
}
