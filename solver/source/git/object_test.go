package git

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/source"
)

// signWith has a repository sign with a new SSH key, and returns the public
// one.
func (r *repo) signWith(name string) string {
	r.t.Helper()
	key := filepath.Join(r.t.TempDir(), name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key).CombinedOutput(); err != nil {
		r.t.Fatalf("make key: %v\n%s", err, out)
	}
	pub, err := os.ReadFile(key + ".pub")
	if err != nil {
		r.t.Fatal(err)
	}
	r.git("config", "gpg.format", "ssh")
	r.git("config", "user.signingkey", key)
	return string(pub)
}

func TestSigned(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r")
	other := r.signWith("other")
	key := r.signWith("signer")
	r.commit(map[string]string{"a": "unsigned"})
	r.git("tag", "-a", "plain", "-m", "m")
	r.git("tag", "-s", "signed", "-m", "m")
	r.git("commit", "--quiet", "-S", "--allow-empty", "-m", "signed")
	r.git("branch", "good")
	r.git("tag", "-a", "plain-of-good", "-m", "m")
	f := newFixture(t)
	tests := []struct {
		ref, key, attr, want string
	}{
		{"good", key, "", ""},
		{"good", other + key, "", ""},
		{"good", other, "", "another key"},
		{"good", key, attrSigRequireTag, "no signed tag found"},
		{"signed", key, "", ""},
		{"signed", key, attrSigRequireTag, ""},
		{"signed", key, attrSigIgnoreTag, "not signed"},
		{"signed", other, attrSigRequireTag, "another key"},
		{"plain", key, "", "not signed"},
		{"plain-of-good", key, "", ""},
		{"plain-of-good", key, attrSigRequireTag, "not signed"},
		{"plain-of-good", key, attrSigExpired, ""},
	}
	for _, tt := range tests {
		attrs := []string{attrSigKey, tt.key}
		if tt.attr != "" {
			attrs = append(attrs, tt.attr, "true")
		}
		_, got, err := f.get(r.url, "#"+tt.ref, attrs...)
		if err == nil {
			f.Dir(t, got)
		}
		_, rerr := f.source.Resolve(t.Context(), f.env, identifier(t, r.url, "#"+tt.ref, attrs...), source.ResolveOptions{})
		for _, err := range []error{err, rerr} {
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errdefs.IsFailedPrecondition(err)) {
				t.Errorf("%s %s: %v, want %q", tt.ref, tt.attr, err, tt.want)
			}
		}
	}
}

func TestResolveObjects(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r")
	commit := r.commit(map[string]string{"a": "x"})
	r.git("tag", "-a", "v1", "-m", "the tag")
	tag := r.git("rev-parse", "v1")
	f := newFixture(t)
	resolve := func(fragment string) *source.GitMeta {
		t.Helper()
		m, err := f.source.Resolve(t.Context(), f.env, identifier(t, r.url, fragment), source.ResolveOptions{GitObject: true})
		if err != nil {
			t.Fatal(err)
		}
		return m.Git
	}
	m := resolve("#v1")
	if m.Checksum != tag || m.CommitChecksum != commit || !bytes.Contains(m.TagObject, []byte("the tag")) || objectID("commit", m.CommitObject, 40) != commit {
		t.Errorf("%+v", m)
	}
	for _, fragment := range []string{"#main", "#" + commit} {
		m = resolve(fragment)
		if m.Checksum != commit || m.CommitChecksum != "" || m.TagObject != nil || objectID("commit", m.CommitObject, 40) != commit {
			t.Errorf("%s: %+v", fragment, m)
		}
	}
	// An id may be a tag's.
	if m = resolve("#" + tag); m.CommitChecksum != commit || objectID("tag", m.TagObject, 40) != tag {
		t.Errorf("%+v", m)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("tree x\ngpgsig -----BEGIN SSH SIGNATURE-----\n line\n -----END SSH SIGNATURE-----\n\nmessage"))
	f.Add([]byte("object x\n\nmessage\n-----BEGIN PGP SIGNATURE-----\nx"))
	f.Add([]byte("gpgsig"))
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		payload, sig := splitTag(b)
		if !bytes.Equal(append(bytes.Clone(payload), sig...), was) {
			t.Errorf("tag %q: %q and %q", was, payload, sig)
		}
		payload, sig = splitCommit(b)
		if len(payload) > len(b) || len(sig) == 0 && !bytes.Equal(payload, b) && !bytes.Contains(b, []byte("gpgsig")) || !bytes.Equal(b, was) {
			t.Errorf("commit %q: %q and %q", was, payload, sig)
		}
	})
}
