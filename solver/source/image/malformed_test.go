package image

import (
	"archive/tar"
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// tarLayer is an uncompressed layer of one file.
func tarLayer(t testing.TB, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file0", Mode: 0o644, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// parts are those of a good image, to be spoilt.
type parts struct {
	config   ocispecs.Image
	manifest ocispecs.Manifest
}

func goodParts(t testing.TB, f *fake) parts {
	layer := tarLayer(t, "good")
	p := parts{
		config: ocispecs.Image{Platform: fixtures.Native(), RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}}},
		manifest: ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
			Layers: []ocispecs.Descriptor{f.add(ocispecs.MediaTypeImageLayer, layer)}},
	}
	return p
}

// push stores the parts and returns the manifest.
func (p parts) push(f *fake) ocispecs.Descriptor {
	if p.manifest.Config.Digest == "" {
		p.manifest.Config = f.add(ocispecs.MediaTypeImageConfig, p.config)
	}
	return f.add(ocispecs.MediaTypeImageManifest, p.manifest)
}

func index(f *fake, entries ...ocispecs.Descriptor) ocispecs.Descriptor {
	return f.add(ocispecs.MediaTypeImageIndex, ocispecs.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: entries})
}

// spoilt is an image with something wrong with it.
type spoilt struct {
	name string
	// root makes the image; want is part of the error, empty for none.
	root func(f *fake, p parts) ocispecs.Descriptor
	want string
}

var (
	native = fixtures.Native()
	other  = ocispecs.Platform{OS: "linux", Architecture: "s390x"}
)

// spoiltDocuments have odd indexes and manifests.
var spoiltDocuments = []spoilt{
	{"good", func(f *fake, p parts) ocispecs.Descriptor { return p.push(f) }, ""},
	{"wrong content type", func(f *fake, p parts) ocispecs.Descriptor {
		d := p.push(f)
		d.MediaType = "application/json"
		return d
	}, ""},
	{"no media type inside", func(f *fake, p parts) ocispecs.Descriptor { p.manifest.MediaType = ""; return p.push(f) }, ""},
	{"silent index", func(f *fake, p parts) ocispecs.Descriptor {
		wrong := p
		wrong.config.Platform = other
		notImage := f.add(ocispecs.MediaTypeImageManifest, []byte(`{"config":{"mediaType":"application/x"},"layers":[]}`))
		return index(f, wrong.push(f), notImage, p.push(f))
	}, ""},
	{"index in index", func(f *fake, p parts) ocispecs.Descriptor {
		d := p.push(f)
		d.Platform = &native
		return index(f, index(f, index(f, d)))
	}, ""},
	{"index too deep", func(f *fake, p parts) ocispecs.Descriptor {
		d := p.push(f)
		for range 5 {
			d.Platform = &native
			d = index(f, d)
		}
		return d
	}, "nested more than 3 deep"},
	{"too many silent entries", func(f *fake, p parts) ocispecs.Descriptor {
		p.config.Platform = other
		d := p.push(f)
		var all []ocispecs.Descriptor
		for range 100 {
			all = append(all, d)
		}
		return index(f, all...)
	}, "more than 32 manifests"},
	{"empty index", func(f *fake, _ parts) ocispecs.Descriptor {
		return f.add(ocispecs.MediaTypeImageIndex, []byte(`{"manifests":[]}`))
	}, "no match for platform in manifest"},
	{"not JSON", func(f *fake, _ parts) ocispecs.Descriptor {
		return f.add(ocispecs.MediaTypeImageManifest, []byte("<html>"))
	}, "not JSON"},
	{"both", func(f *fake, _ parts) ocispecs.Descriptor {
		return f.add(ocispecs.MediaTypeImageManifest, []byte(`{"manifests":[],"layers":[]}`))
	}, "must be either"},
	{"disguised", func(f *fake, _ parts) ocispecs.Descriptor {
		return f.add(ocispecs.MediaTypeImageManifest, []byte(`{"mediaType":"`+ocispecs.MediaTypeImageManifest+`","manifests":[]}`))
	}, "has other fields"},
	{"schema 1", func(f *fake, _ parts) ocispecs.Descriptor {
		return f.add(images.MediaTypeDockerSchema2Manifest, []byte(`{"schemaVersion":1,"fsLayers":[]}`))
	}, "schema 1"},
	{"announced schema 1", func(f *fake, p parts) ocispecs.Descriptor {
		d := p.push(f)
		d.MediaType = images.MediaTypeDockerSchema1Manifest
		return d
	}, "schema 1"},
	{"huge manifest", func(f *fake, _ parts) ocispecs.Descriptor {
		return f.add(ocispecs.MediaTypeImageManifest, bytes.Repeat([]byte(" "), maxManifest+1))
	}, "limit of"},
}

// spoiltImages have odd configurations and layers.
var spoiltImages = []spoilt{
	{"huge configuration", func(f *fake, p parts) ocispecs.Descriptor {
		p.manifest.Config = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromString("x"), Size: maxConfig + 1}
		return p.push(f)
	}, "limit of"},
	{"artifact", func(f *fake, p parts) ocispecs.Descriptor {
		p.manifest.Config = f.add("application/vnd.cncf.helm.config.v1+json", []byte(`{}`))
		return p.push(f)
	}, "not an image"},
	{"hostile layer type", func(f *fake, p parts) ocispecs.Descriptor {
		p.manifest.Layers[0].MediaType = "application/x-sh"
		return p.push(f)
	}, "layer 0 is of type"},
	{"negative size", func(f *fake, p parts) ocispecs.Descriptor { p.manifest.Layers[0].Size = -1; return p.push(f) }, "size of -1"},
	{"bad digest", func(f *fake, p parts) ocispecs.Descriptor {
		p.manifest.Layers[0].Digest = "sha256:../../etc"
		return p.push(f)
	}, "layer 0: digest"},
	{"missing diff ID", func(f *fake, p parts) ocispecs.Descriptor { p.config.RootFS.DiffIDs = nil; return p.push(f) }, "describes 0 layers, the manifest has 1"},
	{"bad diff ID", func(f *fake, p parts) ocispecs.Descriptor {
		p.config.RootFS.DiffIDs[0] = "md5:00"
		return p.push(f)
	}, "layer 0: digest"},
	{"wrong diff ID", func(f *fake, p parts) ocispecs.Descriptor {
		p.config.RootFS.DiffIDs[0] = digest.FromString("other")
		return p.push(f)
	}, "the image says"},
	{"odd root", func(f *fake, p parts) ocispecs.Descriptor { p.config.RootFS.Type = "odd"; return p.push(f) }, `type "odd"`},
	{"wrong size in manifest", func(f *fake, p parts) ocispecs.Descriptor {
		p.manifest.Layers[0].Size++
		return p.push(f)
	}, "fetch blob"},
	{"missing layer", func(f *fake, p parts) ocispecs.Descriptor {
		p.manifest.Layers[0].Digest = digest.FromString("gone")
		return p.push(f)
	}, "not found"},
	{"lying registry", func(f *fake, p parts) ocispecs.Descriptor {
		d := p.push(f)
		f.blobs[d.Digest.String()] = bytes.Replace(f.blobs[d.Digest.String()], []byte("layers"), []byte("LAYERS"), 1)
		return d
	}, "content is not what its digest says"},
}

func TestMalformed(t *testing.T) {
	for _, tc := range slices.Concat(spoiltDocuments, spoiltImages) {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			f.tags["latest"] = tc.root(f, goodParts(t, f))
			h := newHost(t, registry.Config{})
			_, r, err := h.pull(f.addr+"/lib/image:latest", nil)
			if err == nil {
				h.has(r, "file0", "good")
				h.release(r)
			}
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`,
		`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"platform":{"os":"linux","architecture":"arm","variant":"v9"}},{}]}`,
		`{"schemaVersion":1}`, `{"layers":null,"config":{}}`, `[]`, `{"manifests":{}}`,
	} {
		f.Add([]byte(seed))
	}
	want := platforms.Only(ocispecs.Platform{OS: "linux", Architecture: "arm", Variant: "v7"})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDocument(b)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) && !errdefs.IsNotImplemented(err) {
				t.Errorf("kind of %v", err)
			}
			return
		}
		if (d.index == nil) == (d.manifest == nil) {
			t.Fatal("neither or both")
		}
		if d.index != nil {
			for _, c := range candidates(d.index, want) {
				if c.Platform != nil && !want.Match(*c.Platform) {
					t.Errorf("candidate %v", c.Platform)
				}
			}
			_ = noMatch("sha256:x", d.index, ocispecs.Platform{}).Error()
			return
		}
		if err := checkManifest(d.manifest); err == nil {
			if _, err := decodeConfig(b, d.manifest); err != nil && !errdefs.IsInvalidArgument(err) {
				t.Errorf("kind of %v", err)
			}
		}
	})
}
