package blob

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/sourcetest"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// fixture is a source on a host of its own, with a client.
type fixture struct {
	*sourcetest.Host
	t      *testing.T
	source *Source
	env    *sourcetest.Env
}

func newFixture(t *testing.T, c *sourcetest.Client) *fixture {
	f := &fixture{Host: sourcetest.NewHost(t), t: t, env: &sourcetest.Env{IDs: []string{"client"}}}
	c.Open(t, f.Sessions, "client")
	registries, err := registry.New(registry.Config{Sessions: f.Sessions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registries.Close)
	f.source = New(Config{Registries: registries, Sessions: f.Sessions, Refs: f.Refs})
	return f
}

func identifier(t testing.TB, text string, attrs ...string) source.Identifier {
	t.Helper()
	m := map[string]string{}
	for i := 0; i < len(attrs); i += 2 {
		m[attrs[i]] = attrs[i+1]
	}
	id, err := source.ParseIdentifier(text, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fixture) get(text string, attrs ...string) (key string, r *ref.Ref, err error) {
	f.t.Helper()
	in, err := f.source.Open(f.t.Context(), identifier(f.t, text, attrs...))
	if err != nil {
		f.t.Fatal(err)
	}
	k, err := in.Key(f.t.Context(), f.env)
	if err != nil {
		f.t.Fatal(err)
	}
	r, err = in.Fetch(f.t.Context(), f.env)
	return k.Definition, r, err
}

func TestRegistry(t *testing.T) {
	reg := fixtures.Registry(t)
	layer, err := fixtures.NewLayer(func(add func(tar.Header, []byte) error) error {
		b := make([]byte, 1<<20)
		_, _ = rand.Read(b)
		return add(tar.Header{Name: "data", Mode: 0o644}, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reg.Push(t.Context(), "lib/x", "latest", fixtures.Image{Platform: fixtures.Native(), Layers: []fixtures.Layer{layer}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, &sourcetest.Client{})
	d := layer.Descriptor.Digest
	name := "docker-image+blob://" + reg.Addr + "/lib/x@"
	key, r, err := f.get(name+d.String(), "http.filename", "layer.tar.gz", "http.perm", "0640", "http.uid", "5", "http.gid", "6")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(f.Dir(t, r), "layer.tar.gz")
	b, err := os.ReadFile(file)
	if err != nil || digest.FromBytes(b) != d {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil || st.Mode != unix.S_IFREG|0o640 || st.Uid != 5 || st.Gid != 6 || st.Mtim.Sec != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	other, r, err := f.get(name + d.String())
	if err != nil || other == key {
		t.Fatalf("key %s twice, %v", key, err)
	}
	if _, err := os.Stat(filepath.Join(f.Dir(t, r), d.Encoded())); err != nil {
		t.Error(err)
	}
	if _, _, err := f.get(name + digest.FromString("none").String()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("missing: %v", err)
	}
}

func TestLayout(t *testing.T) {
	d, bad := digest.FromString("bundle"), digest.FromString("else")
	f := newFixture(t, &sourcetest.Client{Layouts: map[string]map[digest.Digest]string{"store": {d: "bundle", bad: "bundle"}}})
	_, r, err := f.get("oci-layout+blob://any/name@"+d.String(), "oci.store", "store", "oci.session", "client")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(f.Dir(t, r), d.Encoded())); err != nil || string(b) != "bundle" {
		t.Errorf("%q, %v", b, err)
	}
	held := f.Held(t)
	if _, _, err := f.get("oci-layout+blob://any/name@"+bad.String(), "oci.store", "store"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("other bytes: %v", err)
	}
	if n := f.Held(t); n != held {
		t.Errorf("%d refs after a failure, want %d", n, held)
	}
	if _, _, err := f.get("oci-layout+blob://any/name@"+d.String(), "oci.store", "other"); err == nil {
		t.Error("found in another store")
	}
	for _, tt := range []struct {
		digest digest.Digest
		limit  int64
		want   string
	}{{d, DefaultMaxSize, "bundle"}, {d, 3, ""}, {bad, DefaultMaxSize, ""}} {
		l, err := ParseLocator("oci-layout+blob://store@"+tt.digest.String(), nil)
		if err != nil || l.Digest() != tt.digest {
			t.Fatal(l, err)
		}
		f.source.cfg.MaxSize = tt.limit
		var b bytes.Buffer
		err = f.source.Copy(t.Context(), f.env, &b, l)
		if (err == nil) != (tt.want != "") || tt.want != "" && b.String() != tt.want {
			t.Errorf("%s, at most %d: %q, %v", tt.digest, tt.limit, b.String(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	s := New(Config{})
	d := digest.FromString("").String()
	for _, tt := range []struct{ text, attr, value, want string }{
		{"docker-image+blob://busybox:1@" + d, "", "", "no tag"},
		{"docker-image+blob://busybox:1", "", "", "digest"},
		{"docker-image+blob://BUSYBOX@" + d, "", "", "BUSYBOX"},
		{"docker-image+blob://x@" + d, "http.perm", "rwx", "http.perm"},
		{"docker-image+blob://x@" + d, "image.recordtype", "odd", "image.recordtype"},
		{"oci-layout+blob://x@" + d, "", "", "requires store id"},
	} {
		_, err := s.Open(t.Context(), identifier(t, tt.text, tt.attr, tt.value))
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}

func FuzzParseLocator(f *testing.F) {
	d := digest.FromString("").String()
	for _, s := range []string{"docker-image+blob://x@" + d, "oci-layout+blob://a/b@" + d, "oci-layout+blob://@", "://", "docker-image+blob://x:y@" + d} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLocator(s, nil)
		if err == nil && (l.Digest().Validate() != nil || (l.repository == "") == (l.store == "")) {
			t.Errorf("%q: %+v", s, l)
		}
	})
}
