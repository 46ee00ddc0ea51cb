package sidecar_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/embedded"
	"github.com/kilnbuild/kiln/plugin/sidecar"
)

// served is a containerd in this process that is reached over its socket, as
// one in another process would be.
type served struct {
	cfg    embedded.Config
	host   *embedded.Host
	socket string
}

// serve starts one; its directories have short names, for the socket's sake.
func serve(t *testing.T) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "kiln-side-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &served{cfg: embedded.Config{Root: filepath.Join(dir, "r"), State: filepath.Join(dir, "s"), Namespace: "other"}}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *served) start(t *testing.T) {
	t.Helper()
	var err error
	if s.host, err = embedded.Open(t.Context(), s.cfg); err != nil {
		t.Fatal(err)
	}
	if s.socket, err = s.host.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *served) stop(t *testing.T) {
	t.Helper()
	if s.host == nil {
		return
	}
	// Cut off who is still connected.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.host.Close(ctx); err != nil {
		t.Error(err)
	}
	s.host = nil
}

// open opens a sidecar of s.
func open(t *testing.T, s *served) plugin.Host {
	t.Helper()
	h, err := sidecar.Open(t.Context(), sidecar.Config{
		Address: "unix://" + s.socket, Root: filepath.Join(t.TempDir(), "root"), State: t.TempDir(), Namespace: "build",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h.Host()
}

// leased is a context in the builder's namespace with a new lease.
func leased(t *testing.T, h plugin.Host) (context.Context, leases.Lease) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), h.Namespace)
	l, err := h.Leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	return leases.WithLease(ctx, l.ID), l
}

// put writes a blob, which may be there.
func put(ctx context.Context, store content.Store, ref string, b []byte, desc ocispec.Descriptor) error {
	w, err := content.OpenWriter(ctx, store, content.WithRef(ref), content.WithDescriptor(desc))
	if err != nil {
		if errdefs.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	defer w.Close()
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Commit(ctx, int64(len(b)), digest.FromBytes(b)); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// TestHost shows that what a sidecar stores is in the containerd, for all of
// its clients, and the other way round.
func TestHost(t *testing.T) {
	s := serve(t)
	h := open(t, s)
	ctx, _ := leased(t, h)
	if h.SnapshotterName != "kiln" || h.Backend != nil {
		t.Errorf("snapshotter is %s, backend %v", h.SnapshotterName, h.Backend)
	}
	there := s.host.Host()
	want, err := there.UUID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.UUID(ctx); err != nil || got != want {
		t.Errorf("UUID is %q (%v), want %q", got, err, want)
	}

	blob := []byte("some layer")
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	if err := put(ctx, h.Content, "one", blob, desc); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Images.Create(ctx, images.Image{Name: "example.com/a:1", Target: desc}); err != nil {
		t.Fatal(err)
	}
	if img, err := there.Images.Get(ctx, "example.com/a:1"); err != nil || img.Target.Digest != desc.Digest {
		t.Errorf("image is %v (%v)", img, err)
	}

	mounts, err := h.Snapshotter.Prepare(ctx, "active", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.WithTempMount(ctx, mounts, func(root string) error {
		return os.WriteFile(filepath.Join(root, "f"), []byte("x"), 0o644)
	}); err != nil {
		t.Fatal(err)
	}
	layer, err := h.Comparer.Compare(ctx, nil, mounts)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Snapshotter.Commit(ctx, "done", "active"); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Snapshotter.Stat(ctx, "done"); err != nil {
		t.Error(err)
	}
	if b, err := content.ReadBlob(ctx, there.Content, layer); err != nil || int64(len(b)) != layer.Size {
		t.Errorf("layer has %d bytes (%v), want %d", len(b), err, layer.Size)
	}
}

// TestCollect shows that the containerd's collector is reached and waited for.
func TestCollect(t *testing.T) {
	s := serve(t)
	h := open(t, s)
	ctx, l := leased(t, h)
	blob := []byte("for a moment")
	if err := put(ctx, h.Content, "one", blob, ocispec.Descriptor{}); err != nil {
		t.Fatal(err)
	}
	if err := h.GarbageCollect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Content.Info(ctx, digest.FromBytes(blob)); err != nil {
		t.Fatalf("a leased blob was collected: %v", err)
	}
	if err := h.Leases.Delete(ctx, l); err != nil {
		t.Fatal(err)
	}
	if err := h.GarbageCollect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Content.Info(ctx, digest.FromBytes(blob)); !errdefs.IsNotFound(err) {
		t.Errorf("a blob that nobody holds is there: %v", err)
	}
}

// TestBlobThatIsThereIsHeld shows that writing a blob that exists makes the
// writer's lease hold it, whether or not the writer knew the digest before.
func TestBlobThatIsThereIsHeld(t *testing.T) {
	blob := bytes.Repeat([]byte("same "), 1000)
	known := ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	for name, desc := range map[string]ocispec.Descriptor{"unknown before": {}, "known before": known} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			h := open(t, s)
			first, l := leased(t, h)
			second, _ := leased(t, h)
			w, err := h.Content.Writer(second, content.WithRef("two"), content.WithDescriptor(desc))
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Write(blob); err != nil {
				t.Fatal(err)
			}
			// Somebody else is faster.
			if err := put(first, h.Content, "one", blob, ocispec.Descriptor{}); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(second, known.Size, known.Digest); !errdefs.IsAlreadyExists(err) {
				t.Fatalf("commit: %v, want AlreadyExists", err)
			}
			if err := h.Leases.Delete(first, l, leases.SynchronousDelete); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Content.Info(second, known.Digest); err != nil {
				t.Errorf("the second writer's lease does not hold the blob: %v", err)
			}
		})
	}
}

// TestWrongDigest shows that a commit compares.
func TestWrongDigest(t *testing.T) {
	h := open(t, serve(t))
	ctx, _ := leased(t, h)
	w, err := h.Content.Writer(ctx, content.WithRef("one"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("this")); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx, 4, digest.FromString("that")); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("commit: %v, want FailedPrecondition", err)
	}
}

// TestRestart shows that calls fail in plain words while the containerd is
// away, and work again when it is back.
func TestRestart(t *testing.T) {
	s := serve(t)
	h := open(t, s)
	ctx, l := leased(t, h)
	s.stop(t)
	_, err := h.Leases.ListResources(ctx, l)
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "does not answer") || !strings.Contains(err.Error(), s.socket) {
		t.Errorf("error is %v", err)
	}
	s.start(t)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		list, err := h.Leases.List(ctx)
		if err == nil {
			if len(list) != 1 || list[0].ID != l.ID {
				t.Errorf("leases are %v", list)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestOpenErrors shows what is said when there is nothing to work in.
func TestOpenErrors(t *testing.T) {
	s := serve(t)
	absent := filepath.Join(t.TempDir(), "absent.sock")
	good := sidecar.Config{Address: s.socket, Root: filepath.Join(t.TempDir(), "root"), State: t.TempDir(), Namespace: "build"}
	tests := []struct {
		name   string
		change func(*sidecar.Config)
		is     func(error) bool
		want   string
	}{
		{"no containerd", func(c *sidecar.Config) { c.Address, c.Wait = absent, 100*time.Millisecond }, errdefs.IsUnavailable, "is it running?"},
		{"not a socket", func(c *sidecar.Config) { c.Address = "tcp://host:1" }, errdefs.IsInvalidArgument, "absolute path"},
		{"no such snapshotter", func(c *sidecar.Config) { c.Snapshotter = "zfs" }, errdefs.IsNotFound, "it has kiln"},
		{"relative root", func(c *sidecar.Config) { c.Root = "here" }, errdefs.IsInvalidArgument, "absolute"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := good
			test.change(&cfg)
			_, err := sidecar.Open(t.Context(), cfg)
			if !test.is(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}
