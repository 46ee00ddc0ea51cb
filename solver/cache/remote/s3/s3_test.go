package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/test/clouds"
)

type quiet struct{}

func (quiet) Sessions() []string { return nil }
func (quiet) Emit(solver.Event)  {}

// memory is a content provider.
type memory map[digest.Digest][]byte

type memoryReader struct{ *bytes.Reader }

func (memoryReader) Close() error { return nil }

func (m memory) ReaderAt(_ context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	data, ok := m[desc.Digest]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return memoryReader{bytes.NewReader(data)}, nil
}

// bundle returns a cache with one layer and its blob.
func bundle(data string) (*remote.Bundle, memory) {
	d := digest.FromString(data)
	created := time.Unix(1, 0).UTC()
	layer := ref.Layer{DiffID: digest.FromString("tar of " + data), CreatedAt: &created, Descriptor: ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(data)),
	}}
	name := digest.FromString(digest.FromString("op").String() + "@0")
	return &remote.Bundle{
		Blobs: []remote.Blob{{Layer: layer}},
		Config: &remote.Config{
			Layers:  []remote.Layer{{Blob: d, Parent: remote.Root}},
			Records: []remote.Record{{Digest: name, Results: []remote.TopLayer{{CreatedAt: created}}}},
		},
	}, memory{d: []byte(data)}
}

func TestExportImport(t *testing.T) {
	attrs := clouds.S3(t)
	attrs["prefix"], attrs["name"], attrs["touch_refresh"] = "p/", "one;two", "0s"
	b, blobs := bundle(strings.Repeat("layer", 1000))
	for range 2 { // the second time the blob is touched
		e, err := Backend{}.Exporter(t.Context(), attrs, quiet{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Export(t.Context(), b, blobs, quiet{}); err != nil {
			t.Fatal(err)
		}
		blobs = memory{} // and not read again
	}
	for _, name := range []string{"one", "two"} {
		attrs := maps.Clone(attrs)
		attrs["name"] = name
		i, err := Backend{}.Importer(t.Context(), attrs, quiet{})
		if err != nil {
			t.Fatal(err)
		}
		tables, err := i.Import(t.Context(), quiet{})
		if err != nil || len(tables) != 1 {
			t.Fatalf("imported %v, %v", tables, err)
		}
		key := solver.NewKey(digest.FromString("op"), 0, false, nil)
		s := tables[0].Find(t.Context(), key, nothing)
		if s == nil || s.Layers[0].DiffID != b.Blobs[0].DiffID || s.Layers[0].Descriptor.Size != b.Blobs[0].Descriptor.Size {
			t.Fatalf("found %+v", s)
		}
		rc, err := s.From.Fetch(t.Context(), s.Layers[0].Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		_ = rc.Close()
		if err != nil || digest.FromBytes(data) != b.Blobs[0].Descriptor.Digest {
			t.Errorf("read %d bytes, %v", len(data), err)
		}
		missing := ocispecs.Descriptor{Digest: digest.FromString("missing")}
		if has, err := s.From.Blobs.(remote.Prober).Has(t.Context(), missing); has || err != nil {
			t.Errorf("a missing blob is there: %v, %v", has, err)
		}
	}
}

func nothing(context.Context, digest.Digest) (s cache.Structure, ok bool) { return s, false }

func TestNeverWritten(t *testing.T) {
	i, err := Backend{}.Importer(t.Context(), clouds.S3(t), quiet{})
	if err != nil {
		t.Fatal(err)
	}
	if tables, err := i.Import(t.Context(), quiet{}); len(tables) != 0 || err != nil {
		t.Errorf("imported %v, %v", tables, err)
	}
}

func TestPlainErrors(t *testing.T) {
	attrs := clouds.S3(t)
	attrs["bucket"] = "other"
	e, err := Backend{}.Exporter(t.Context(), attrs, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	b, blobs := bundle("x")
	if _, err := e.Export(t.Context(), b, blobs, quiet{}); err == nil {
		t.Error("wrote to a bucket that does not exist")
	}
}

func TestParse(t *testing.T) {
	t.Setenv("AWS_BUCKET", "from-env")
	c, err := parse(map[string]string{"region": "r", "touch_refresh": "soon", "use_path_style": "1", "retry_mode": "adaptive", "upload_parallelism": "9"})
	if err != nil {
		t.Fatal(err)
	}
	if c.bucket != "from-env" || c.refresh != defaultRefresh || !c.pathStyle || c.parallel != 9 || !slices.Equal(c.names, []string{"buildkit"}) {
		t.Errorf("got %+v", c)
	}
	for name, tc := range map[string]struct{ k, v, want string }{
		"region":   {"x", "", "region ($AWS_REGION) not set for s3 cache"},
		"parallel": {"upload_parallelism", "0", "upload_parallelism must be a positive integer"},
		"attempts": {"retry_max_attempts", "x", "retry_max_attempts must be a positive integer"},
		"mode":     {"retry_mode", "wild", "retry_mode must be"},
	} {
		attrs := map[string]string{tc.k: tc.v}
		if name != "region" {
			attrs["region"] = "r"
		}
		if _, err := parse(attrs); err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
