package embedded_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/plugin/embedded"
	"github.com/kilnbuild/kiln/snapshotter"
)

// large is what the layer of storeLayer holds.
var large = bytes.Repeat([]byte("large"), 50_000)

// storeLayer makes a snapshot and its uncompressed blob, owned by a lease.
func storeLayer(t *testing.T, h *embedded.Host) (ocispec.Descriptor, leases.Lease) {
	t.Helper()
	host := h.Host()
	ctx := inNamespace(t)
	lease, err := host.Leases.Create(ctx, leases.WithID("layer"))
	if err != nil {
		t.Fatal(err)
	}
	ctx = leases.WithLease(ctx, lease.ID)
	mounts, err := host.Snapshotter.Prepare(ctx, "active", "")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := host.Backend.(*snapshotter.Snapshotter).UpperDir(ctx, "active")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), large, 0o600); err != nil {
		t.Fatal(err)
	}
	layer, err := host.Comparer.(*differ.Differ).CompareLayer(ctx, nil, mounts, differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayer})
	if err != nil {
		t.Fatal(err)
	}
	if !layer.Linked || layer.Descriptor.Digest != layer.DiffID {
		t.Fatalf("the blob is not linked: %+v", layer)
	}
	if err := host.Snapshotter.Commit(ctx, "layer", "active"); err != nil {
		t.Fatal(err)
	}
	return layer.Descriptor, lease
}

// check reads a blob in a namespace; its digest is verified by that.
func check(t *testing.T, h *embedded.Host, namespace string, desc ocispec.Descriptor) {
	t.Helper()
	data, err := content.ReadBlob(namespaces.WithNamespace(t.Context(), namespace), h.Host().Content, desc)
	if err != nil || !bytes.Contains(data, large) || desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		t.Errorf("blob in %s: %d bytes, %v", namespace, len(data), err)
	}
}

// TestLinkedBlob follows the blob of a layer: through a restart, into another
// namespace, after its snapshot, to its end.
func TestLinkedBlob(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	desc, lease := storeLayer(t, h)
	check(t, h, "buildkit", desc)
	closeHost(t, h)

	h = open(t, dir)
	defer closeHost(t, h)
	host := h.Host()
	other := namespaces.WithNamespace(t.Context(), "other")
	if err := host.Namespaces.Create(t.Context(), "other", nil); err != nil {
		t.Fatal(err)
	}
	root := content.WithLabels(map[string]string{"containerd.io/gc.root": "yes"})
	w, err := host.Content.Writer(other, content.WithRef("share"), content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(other, desc.Size, desc.Digest, root); err != nil {
		t.Fatal(err)
	}
	if err := host.Leases.Delete(inNamespace(t), lease, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Snapshotter.Stat(inNamespace(t), "layer"); !errdefs.IsNotFound(err) {
		t.Errorf("the snapshot is still there: %v", err)
	}
	if _, err := host.Content.Info(inNamespace(t), desc.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("the namespace still has the blob: %v", err)
	}
	check(t, h, "other", desc)
	if err := host.Content.Delete(other, desc.Digest); err != nil {
		t.Fatal(err)
	}
	if err := host.GarbageCollect(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "root", "linked", "sha256")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestLinkedBlobIsolated checks that a namespace that may not see what others
// have still gets its own blob.
func TestLinkedBlobIsolated(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.IsolateContent = true
	h, err := embedded.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeHost(t, h)
	desc, _ := storeLayer(t, h)
	check(t, h, "buildkit", desc)
}
