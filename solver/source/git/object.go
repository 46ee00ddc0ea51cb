package git

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // ids of repositories are what they are
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/source/signature"
)

// maxObject bounds commits and tags that are looked into, in bytes.
const maxObject = 4 << 20

// objects are what a reference names, as they are stored.
type objects struct {
	// tagID and tag are those of an annotated tag; empty if there is none.
	tagID string
	tag   []byte
	// commitID and commit are those of the commit.
	commitID string
	commit   []byte
	// time is the committer's, in seconds since the epoch.
	time int64
}

// inspect brings what a reference names into the mirror and reads it.
func (s *Source) inspect(ctx context.Context, env solver.Env, sp *spec, r resolved) (_ *objects, err error) {
	a, err := s.newAccess(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	m, err := s.mirrorOf(ctx, a, sp, r.Checksum)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close(context.WithoutCancel(ctx))) }()
	o := &objects{}
	if o.commitID, err = m.complete(ctx, want{ref: r.Ref, id: r.Checksum, only: sp.fetchByCommit}); err != nil {
		return nil, err
	}
	if o.commitID != r.Checksum {
		o.tagID = r.Checksum
		if o.tag, err = m.object(ctx, "tag", o.tagID); err != nil {
			return nil, err
		}
	}
	if o.commit, err = m.object(ctx, "commit", o.commitID); err != nil {
		return nil, err
	}
	o.time, err = m.time(ctx, o.commitID)
	return o, err
}

// object reads an object, and checks that it is the one that its id says.
func (m *mirror) object(ctx context.Context, kind, id string) ([]byte, error) {
	b, err := m.git.local().run(ctx, "cat-file", kind, id)
	if err != nil {
		return nil, fmt.Errorf("read %s %s of %s: %w", kind, id, m.remote, err)
	}
	if len(b) > maxObject {
		return nil, fmt.Errorf("%s %s of %s has %d bytes, at most %d: %w", kind, id, m.remote, len(b), maxObject, errdefs.ErrResourceExhausted)
	}
	if objectID(kind, b, len(id)) != id {
		return nil, fmt.Errorf("%s %s of %s is not what its id says: %w", kind, id, m.remote, errdefs.ErrFailedPrecondition)
	}
	return b, nil
}

// objectID is the id of an object in a repository whose ids have n digits.
func objectID(kind string, b []byte, n int) string {
	h := sha1.New() //nolint:gosec // see above
	if n == hex.EncodedLen(sha256.Size) {
		h = sha256.New()
	}
	fmt.Fprintf(h, "%s %d\x00", kind, len(b))
	h.Write(b) // Never fails.
	return hex.EncodeToString(h.Sum(nil))
}

// errUnsigned is the error of objects without a signature.
var errUnsigned = fmt.Errorf("git object is not signed: %w", errdefs.ErrFailedPrecondition)

// verify checks that the objects have the signature that is wanted; nil wants
// none.
func (w *signed) verify(o *objects) error {
	if w == nil {
		return nil
	}
	var tagErr error
	if o.tag != nil && !w.ignoreTag {
		if tagErr = w.check(splitTag(o.tag)); tagErr == nil {
			return nil
		}
		tagErr = fmt.Errorf("tag %s: %w", o.tagID, tagErr)
	}
	if w.requireTag {
		if tagErr == nil {
			tagErr = fmt.Errorf("signed tag required but no signed tag found: %w", errdefs.ErrFailedPrecondition)
		}
		return tagErr
	}
	if err := w.check(splitCommit(o.commit)); err != nil {
		return fmt.Errorf("commit %s: %w", o.commitID, err)
	}
	return nil
}

// sshNamespace is the purpose of signatures that git makes.
const sshNamespace = "git"

func (w *signed) check(payload, sig []byte) error {
	if len(sig) == 0 {
		return errUnsigned
	}
	return signature.Verify(bytes.NewReader(payload), sig, w.keys, signature.Policy{RejectExpired: w.rejectExpired, Namespace: sshNamespace})
}

// splitCommit takes the signature out of a commit: it is in a header, whose
// further lines begin with a space. What is signed is the commit without it.
func splitCommit(b []byte) (payload, sig []byte) {
	inSignature := false
	for rest := b; len(rest) > 0; {
		line, tail, _ := bytes.Cut(rest, []byte("\n"))
		whole := rest[:len(rest)-len(tail)]
		if len(line) == 0 {
			// The message follows.
			return append(payload, rest...), sig
		}
		name, value, _ := strings.Cut(string(line), " ")
		switch {
		case name == "gpgsig" || name == "gpgsig-sha256":
			// With several nobody could say which one counts.
			inSignature = true
			sig = append(append(sig, value...), '\n')
		case inSignature && line[0] == ' ':
			sig = append(append(sig, line[1:]...), '\n')
		default:
			inSignature = false
			payload = append(payload, whole...)
		}
		rest = tail
	}
	return payload, sig
}

// splitTag takes the signature off the end of a tag. As with git, the last line
// that begins one counts.
func splitTag(b []byte) (payload, sig []byte) {
	cut := len(b)
	for at := 0; at < len(b); {
		line, _, _ := bytes.Cut(b[at:], []byte("\n"))
		if bytes.HasPrefix(line, []byte("-----BEGIN PGP SIGNATURE-----")) || bytes.HasPrefix(line, []byte("-----BEGIN SSH SIGNATURE-----")) {
			cut = at
		}
		at += len(line) + 1
	}
	return b[:cut], b[cut:]
}
