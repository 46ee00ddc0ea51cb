package imagestore

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
)

// entries is a tar of headers, with as many zeros as they say.
func entries(f interface{ Fatal(...any) }, headers ...tar.Header) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

func TestManyEntries(t *testing.T) {
	var all bytes.Buffer
	w := tar.NewWriter(&all)
	for i := range maxEntries + 1 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeDir}); err != nil {
			t.Fatal(err)
		}
	}
	var g guard
	if err := g.copy(io.Discard, &all); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than 50000 entries") {
		t.Errorf("the guard says %v", err)
	}
}

// FuzzGuard checks that what the guard lets through is a tar of plain entries
// with names inside, whatever it was given.
func FuzzGuard(f *testing.F) {
	f.Add(entries(f, tar.Header{Name: "oci-layout", Size: 3, Typeflag: tar.TypeReg}, tar.Header{Name: "blobs/", Typeflag: tar.TypeDir}))
	f.Add(entries(f, tar.Header{Name: "../x", Typeflag: tar.TypeReg}, tar.Header{Name: "l", Linkname: "/etc", Typeflag: tar.TypeSymlink}))
	f.Add(entries(f, tar.Header{Name: strings.Repeat("n", 300), Size: 1, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"KILN.x": "y"}}))
	f.Add([]byte("no tar"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		var g guard
		if err := g.copy(&out, bytes.NewReader(data)); err != nil {
			if !errdefs.IsInvalidArgument(err) && !strings.Contains(err.Error(), "pass on entry") {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		r := tar.NewReader(&out)
		for {
			hdr, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			name := path.Clean(hdr.Name)
			if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
				t.Errorf("entry %q is outside", hdr.Name)
			}
			if !strings.ContainsRune("052", rune(hdr.Typeflag)) {
				t.Errorf("entry %q is of type %q", hdr.Name, hdr.Typeflag)
			}
		}
	})
}

// FuzzDocument checks that documents name nothing that cannot be.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:abc","size":-1}]}`), true)
	f.Add([]byte(`{"config":{"digest":"`+digest.FromString("x")+`","size":1},"layers":[]}`), false)
	f.Add([]byte(`{"layers":null}`), false)
	f.Fuzz(func(t *testing.T, data []byte, index bool) {
		desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest}
		if index {
			desc.MediaType = ocispecs.MediaTypeImageIndex
		}
		below, err := children(desc, data)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		for _, d := range below {
			if d.Digest.Validate() != nil || d.Size < 0 {
				t.Errorf("%+v cannot be", d)
			}
		}
		if !index && len(below) == 0 {
			t.Error("a manifest without a configuration")
		}
	})
}

func TestLoadedName(t *testing.T) {
	d := digest.FromString("x")
	for _, tc := range []struct{ image, ref, want string }{
		{"", "", DanglingName(d)},
		{"docker.io/library/a:1", "1", "docker.io/library/a:1"},
		{"", "a:1", "docker.io/library/a:1"},
		{"", "r.test/a", "r.test/a:latest"},
		{"Not A Name", "", DanglingName(d)},
		{"moby-dangling@sha256:other", "", DanglingName(d)},
	} {
		got, err := loadedName(ocispecs.Descriptor{Digest: d, Annotations: map[string]string{
			images.AnnotationImageName: tc.image, ocispecs.AnnotationRefName: tc.ref,
		}})
		if err != nil || got != tc.want {
			t.Errorf("%q, %q: %q, %v; want %q", tc.image, tc.ref, got, err, tc.want)
		}
	}
}

func TestLogin(t *testing.T) {
	for c, want := range map[route.Credentials]registry.Login{
		{}:                                  {},
		{Username: "u", Password: "p"}:      {Credentials: session.Credentials{Username: "u", Secret: "p"}},
		{Auth: "dTpwOnE="}:                  {Credentials: session.Credentials{Username: "u", Secret: "p:q"}},
		{Auth: "%"}:                         {},
		{Username: "u", IdentityToken: "i"}: {Credentials: session.Credentials{Secret: "i"}},
		{RegistryToken: "t"}:                {Token: "t"},
	} {
		if got := Login(c); got != want {
			t.Errorf("%+v: %+v, want %+v", c, got, want)
		}
	}
	for address, want := range map[string]string{
		"": "docker.io", "https://index.docker.io/v1/": "docker.io", "registry-1.docker.io": "docker.io",
		"r.test:5000": "r.test:5000", "http://r.test/v2/": "r.test",
	} {
		if got := RegistryHost(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func TestTags(t *testing.T) {
	d := digest.FromString("x")
	var all []images.Image
	for _, name := range []string{
		DanglingName(d), d.String(), "docker.io/library/a:1", "docker.io/library/a:2", "r.test/b@" + d.String(), "free text",
	} {
		all = append(all, images.Image{Name: name, Target: ocispecs.Descriptor{Digest: d}})
	}
	tags, digests := Tags(all)
	if got, want := strings.Join(tags, " "), "a:1 a:2 free text"; got != want {
		t.Errorf("tags %q, want %q", got, want)
	}
	if got, want := strings.Join(digests, " "), "a@"+d.String()+" r.test/b@"+d.String(); got != want {
		t.Errorf("digests %q, want %q", got, want)
	}
}
