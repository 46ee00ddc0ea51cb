package artifact

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/ref"
)

// shelf keeps blobs in memory: a Target and an origin.
type shelf map[digest.Digest][]byte

func (s shelf) put(mediaType string, data []byte) ocispecs.Descriptor {
	d := describe(mediaType, data)
	s[d.Digest] = data
	return d
}

func (s shelf) Blob(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	data, err := content.ReadBlob(ctx, from, desc)
	s[desc.Digest] = data
	return err
}

func (s shelf) Root(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	return s.Blob(ctx, desc, from)
}

func (s shelf) Fetch(_ context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	data, ok := s[desc.Digest]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

type quiet struct{}

func (quiet) Sessions() []string { return nil }
func (quiet) Emit(solver.Event)  {}

func nothing(context.Context, digest.Digest) (s cache.Structure, ok bool) { return s, false }

var key = solver.NewKey(digest.FromString("op"), 0, false, nil)

// bundle is a cache of one layer, whose bytes are data.
func bundle(data string) *remote.Bundle {
	created := time.Unix(1, 0).UTC()
	return &remote.Bundle{
		Config: &remote.Config{
			Layers:  []remote.Layer{{Blob: digest.FromString(data), Parent: remote.Root}},
			Records: []remote.Record{{Digest: key.ID(), Results: []remote.TopLayer{{CreatedAt: created}}}},
		},
		Blobs: []remote.Blob{{Layer: ref.Layer{DiffID: digest.FromString("tar"), CreatedAt: &created, Descriptor: ocispecs.Descriptor{
			MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromString(data), Size: int64(len(data)),
		}}}},
	}
}

func TestForms(t *testing.T) {
	for name, tc := range map[string]struct {
		attrs map[string]string
		want  string
	}{
		"image":  {nil, ocispecs.MediaTypeImageManifest},
		"index":  {map[string]string{"image-manifest": "false"}, ocispecs.MediaTypeImageIndex},
		"docker": {map[string]string{"oci-mediatypes": "false"}, "application/vnd.docker.distribution.manifest.list.v2+json"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := ParseOptions(tc.attrs)
			if err != nil {
				t.Fatal(err)
			}
			s := shelf{}
			values, err := Write(t.Context(), o, bundle("layer"), document("layer"), s, quiet{})
			if err != nil {
				t.Fatal(err)
			}
			var root ocispecs.Descriptor
			if err := json.Unmarshal([]byte(values[remote.ValueManifest]), &root); err != nil || root.MediaType != tc.want {
				t.Fatalf("root is %+v, %v", root, err)
			}
			tables, err := Read(t.Context(), root, &remote.Origin{Blobs: s, Name: "test"}, quiet{})
			if err != nil || len(tables) != 1 {
				t.Fatalf("read %v, %v", tables, err)
			}
			found := tables[0].Find(t.Context(), key, nothing)
			if found == nil || found.Layers[0].DiffID != digest.FromString("tar") || found.Layers[0].CreatedAt.Unix() != 1 {
				t.Errorf("found %+v", found)
			}
		})
	}
	if _, err := ParseOptions(map[string]string{"oci-mediatypes": "false", "image-manifest": "true"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
}

// inlineImage puts an image with a cache on the shelf and returns its manifest.
func inlineImage(s shelf, records string) []byte {
	layer := s.put(ocispecs.MediaTypeImageLayerGzip, []byte("layer"))
	config := s.put(ocispecs.MediaTypeImageConfig, []byte(`{"rootfs":{"type":"layers","diff_ids":["`+digest.FromString("tar").String()+
		`"]},"moby.buildkit.cache.v0":"`+base64.StdEncoding.EncodeToString([]byte(records))+`"}`))
	data, _, err := rootDocument(Options{OCI: true, Image: true}, []ocispecs.Descriptor{layer}, config)
	if err != nil {
		panic(err)
	}
	return data
}

func TestInline(t *testing.T) {
	s := shelf{}
	manifest := inlineImage(s, `[{"digest":"`+key.ID().String()+`","chains":[{"layers":[0],"createdAt":"2026-01-01T00:00:00Z"}]}]`)
	image := s.put(ocispecs.MediaTypeImageManifest, manifest)
	data, index, err := rootDocument(Options{OCI: true}, nil, image)
	if err != nil {
		t.Fatal(err)
	}
	s.put(index.MediaType, data)
	for _, root := range []ocispecs.Descriptor{image, index} {
		tables, err := Read(t.Context(), root, &remote.Origin{Blobs: s, Name: "test"}, quiet{})
		if err != nil || len(tables) != 1 || tables[0].Find(t.Context(), key, nothing) == nil {
			t.Errorf("%s: %v, %v", root.MediaType, tables, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	s := shelf{}
	origin := &remote.Origin{Blobs: s, Name: "test"}
	large := s.put("", bytes.Repeat([]byte(" "), maxManifest+1))
	lying := ocispecs.Descriptor{Digest: digest.FromString("other")}
	s[lying.Digest] = []byte("{}")
	for want, root := range map[string]ocispecs.Descriptor{
		"too large":                    large,
		"not what its digest says":     lying,
		"both a manifest and an index": s.put("", []byte(`{"manifests":[],"layers":[]}`)),
		"is none of a cache":           s.put("", []byte(`{"mediaType":"text/plain"}`)),
		"decode":                       s.put("", []byte(`[`)),
	} {
		_, err := Read(t.Context(), root, origin, quiet{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// FuzzRead checks that no manifest makes a reader panic.
func FuzzRead(f *testing.F) {
	s := shelf{}
	f.Add(inlineImage(s, `[]`))
	if _, err := Write(f.Context(), Options{OCI: true, Image: true}, bundle("layer"), document("layer"), s, quiet{}); err != nil {
		f.Fatal(err)
	}
	for _, data := range s {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		root := s.put("", data)
		defer delete(s, root.Digest)
		_, _ = Read(t.Context(), root, &remote.Origin{Blobs: s, Name: "test"}, quiet{})
	})
}
