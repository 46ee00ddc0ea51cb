package archive_test

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/archive"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
)

var errDisk = errors.New("input/output error")

// damaged is a store that cannot read configurations.
type damaged struct{ content.Store }

// ReaderAt fails for configurations.
func (d damaged) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	if desc.MediaType == ocispecs.MediaTypeImageConfig {
		return nil, errDisk
	}
	return d.Store.ReaderAt(ctx, desc)
}

// TestBrokenOff: a client must not take a part of an archive for the whole.
func TestBrokenOff(t *testing.T) {
	h := exporttest.NewHost(t)
	c := exporttest.NewClient(t, exporttest.ClientConfig{})
	src := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a": "1"})}
	for _, tar := range []string{"true", "false"} {
		e := archive.New(archive.Config{
			Format: archive.OCI, Namespace: exporttest.Namespace, Content: damaged{h.Content}, Leases: h.Leases, Sessions: c.Sessions,
		})
		in, err := e.Resolve(t.Context(), map[string]string{"tar": tar})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Export(t.Context(), src, export.Target{Env: c.Env}); !errors.Is(err, errDisk) {
			t.Errorf("tar=%s: %v", tar, err)
		}
	}
	if len(c.Streams()) > 0 {
		t.Error("the client saw the end of an incomplete archive")
	}
}
