package git

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
)

// resolved is what a reference names now.
type resolved struct {
	// Ref in full, "refs/heads/main"; or the commit id that was asked for.
	Ref string
	// Checksum is the id of the object: a commit's, or an annotated tag's.
	Checksum string
	// CommitChecksum is the commit's behind an annotated tag; else empty.
	CommitChecksum string
}

// matches compares with the checksum of a spec.
func (r resolved) matches(sp *spec) error {
	if !strings.HasPrefix(r.Checksum, sp.checksum) && (r.CommitChecksum == "" || !strings.HasPrefix(r.CommitChecksum, sp.checksum)) {
		return checksumError(sp.checksum, r.Checksum, r.CommitChecksum)
	}
	return nil
}

// resolve finds out what a spec names, asking the remote once in a session and
// not at all if the commit is given.
func (s *Source) resolve(ctx context.Context, env solver.Env, sp *spec) (resolved, error) {
	switch {
	case sp.bundle != nil && (sp.ref == "" || isCommit(sp.ref)):
		return resolved{Ref: sp.checksum, Checksum: sp.checksum}, nil
	case sp.bundle != nil:
		return s.bundled(ctx, env, sp)
	case isCommit(sp.ref):
		return resolved{Ref: sp.ref, Checksum: sp.ref}, nil
	case sp.fetchByCommit:
		r := resolved{Ref: sp.ref, Checksum: sp.checksum}
		if r.Ref == "" {
			r.Ref = sp.checksum
		} else if !strings.HasPrefix(r.Ref, "refs/") {
			r.Ref = "refs/heads/" + r.Ref
		}
		return r, nil
	}
	r, err := s.memo.Do(ctx, env.Sessions(), sp.remote.url+"#"+sp.ref, func(ctx context.Context) (resolved, error) {
		a, err := s.newAccess(ctx, env, sp)
		if err != nil {
			return resolved{}, err
		}
		defer func() { _ = a.close() }()
		return a.advertised(ctx, sp)
	})
	if err != nil {
		return resolved{}, err
	}
	return r, r.matches(sp)
}

// advertised asks the remote.
func (a *access) advertised(ctx context.Context, sp *spec) (resolved, error) {
	args := []string{"ls-remote", "--symref", "--", sp.remote.url}
	if sp.ref == "" {
		args = append(args, "HEAD")
	} else {
		args = append(args, sp.ref, sp.ref+"^{}")
	}
	out, err := a.run(ctx, args...)
	if err != nil {
		return resolved{}, fmt.Errorf("failed to fetch remote %s: %w", sp.remote, err)
	}
	refs, head := parseAdvertisement(string(out))
	if sp.ref == "" {
		if checkRef(head) != nil || !strings.HasPrefix(head, "refs/heads/") || !isCommit(refs["HEAD"]) {
			return resolved{}, fmt.Errorf("could not find default branch for repository: %s: %w", sp.remote, errdefs.ErrNotFound)
		}
		return resolved{Ref: head, Checksum: refs["HEAD"]}, nil
	}
	return choose(refs, sp.ref)
}

// parseAdvertisement reads what ls-remote prints: ids by reference, and what
// HEAD is a name of. Lines that are neither are left out.
func parseAdvertisement(out string) (refs map[string]string, head string) {
	refs = map[string]string{}
	for line := range strings.Lines(out) {
		left, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			continue
		}
		if target, ok := strings.CutPrefix(left, "ref: "); ok {
			if name == "HEAD" {
				head = target
			}
			continue
		}
		if isCommit(left) {
			refs[name] = left
		}
	}
	return refs, head
}

// choose finds what a name means: a full reference goes before a branch, and a
// branch before a tag, as with git checkout.
func choose(refs map[string]string, name string) (resolved, error) {
	exact := "refs/" + strings.TrimPrefix(name, "refs/")
	branch := "refs/heads/" + strings.TrimPrefix(name, "refs/heads/")
	tag := "refs/tags/" + strings.TrimPrefix(name, "refs/tags/")
	for _, ref := range []string{exact, branch, tag} {
		if id, ok := refs[ref]; ok {
			r := resolved{Ref: ref, Checksum: id}
			if ref == tag {
				r.CommitChecksum = refs[tag+"^{}"]
			}
			return r, nil
		}
	}
	return resolved{}, fmt.Errorf("repository does not contain ref %s: %w", name, errdefs.ErrNotFound)
}
