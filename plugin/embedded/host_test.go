package embedded_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/embedded"
)

var zeroTime time.Time

func config(dir string) embedded.Config {
	return embedded.Config{Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Namespace: "buildkit"}
}

func open(t testing.TB, dir string) *embedded.Host {
	t.Helper()
	h, err := embedded.Open(t.Context(), config(dir))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func closeHost(t testing.TB, h *embedded.Host) {
	t.Helper()
	if err := h.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func inNamespace(t testing.TB) context.Context {
	return namespaces.WithNamespace(t.Context(), "buildkit")
}

// TestMain plays the process that is killed in TestKill.
func TestMain(m *testing.M) {
	dir := os.Getenv("KILN_TEST_VICTIM")
	if dir == "" {
		// The content store warns at each start where the file system has no fs-verity.
		if err := log.SetLevel("error"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	ctx := namespaces.WithNamespace(context.Background(), "buildkit")
	h, err := embedded.Open(ctx, config(dir))
	if err != nil {
		panic(err)
	}
	host := h.Host()
	for i := 0; ; i++ {
		store(ctx, host, fmt.Sprintf("image-%d", i))
		fmt.Println(i)
	}
}

// store writes a blob and an image that names it, and panics on failure.
func store(ctx context.Context, host plugin.Host, name string) digest.Digest {
	lease, err := host.Leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		panic(err)
	}
	ctx = leases.WithLease(ctx, lease.ID)
	desc := ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromString(name), Size: int64(len(name))}
	if err := content.WriteBlob(ctx, host.Content, name, strings.NewReader(name), desc); err != nil {
		panic(err)
	}
	if _, err := host.Images.Create(ctx, images.Image{Name: name, Target: desc}); err != nil {
		panic(err)
	}
	if err := host.Leases.Delete(ctx, lease); err != nil {
		panic(err)
	}
	return desc.Digest
}

// imageNamed is an image whose target is not there.
func imageNamed(name string) images.Image {
	return images.Image{Name: name, Target: ocispec.Descriptor{
		MediaType: "text/plain", Digest: digest.FromString(name), Size: int64(len(name)),
	}}
}

func TestCtr(t *testing.T) {
	h := open(t, t.TempDir())
	defer closeHost(t, h)
	socket, err := h.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctr := client{t, socket}
	img := newImage(t, "imported")
	archive := img.writeTar(t, "example.org/imported:1")

	ctr.run("images", "import", archive)
	if out := ctr.run("images", "ls", "-q"); strings.TrimSpace(out) != "example.org/imported:1" {
		t.Errorf("images after import: %q", out)
	}
	if out := ctr.run("content", "ls", "-q"); !strings.Contains(out, img.layer.String()) {
		t.Errorf("content after import lacks the layer: %q", out)
	}
	if out := ctr.run("snapshots", "--snapshotter", "kiln", "ls"); strings.Count(out, "Committed") != 1 {
		t.Errorf("snapshots after import: %q", out)
	}
	exported := filepath.Join(t.TempDir(), "out.tar")
	ctr.run("images", "export", exported, "example.org/imported:1")
	if st, err := os.Stat(exported); err != nil || st.Size() == 0 {
		t.Errorf("export: %v %v", st, err)
	}
	pulled := newImage(t, "pulled")
	name := pulled.serve(t)
	ctr.run("images", "pull", "--plain-http", name)
	if out := ctr.run("snapshots", "--snapshotter", "kiln", "ls"); strings.Count(out, "Committed") != 2 {
		t.Errorf("snapshots after pull: %q", out)
	}
	ctr.run("leases", "create", "--id", "mine")
	if out := ctr.run("leases", "ls", "-q"); !strings.Contains(out, "mine") {
		t.Errorf("leases: %q", out)
	}
	ctr.run("images", "rm", "--sync", name, "example.org/imported:1")
	if out := ctr.run("content", "ls", "-q"); strings.TrimSpace(out) != "" {
		t.Errorf("content after removal: %q", out)
	}
	if out := ctr.run("version"); !strings.Contains(out, "Server:") {
		t.Errorf("version: %q", out)
	}
	uuid, err := h.Host().UUID(t.Context())
	if err != nil || !strings.Contains(ctr.run("info"), uuid) {
		t.Errorf("identity %q (%v) differs from what clients see", uuid, err)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	before, err := h.Host().UUID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dgst := store(inNamespace(t), h.Host(), "kept")
	closeHost(t, h)

	start := time.Now()
	h = open(t, dir)
	t.Logf("second start took %v", time.Since(start))
	defer closeHost(t, h)
	if _, err := h.Host().Images.Get(inNamespace(t), "kept"); err != nil {
		t.Error(err)
	}
	if _, err := h.Host().Content.Info(inNamespace(t), dgst); err != nil {
		t.Error(err)
	}
	if after, _ := h.Host().UUID(t.Context()); after != before {
		t.Errorf("identity changed from %s to %s", before, after)
	}
	if _, err := h.Host().Leases.List(inNamespace(t)); err != nil {
		t.Error(err)
	}
}

// TestKill checks that kill -9 loses nothing that had been stored and does not keep the next process from starting.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "KILN_TEST_VICTIM="+dir)
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for seen < 20 {
		if _, err := fmt.Fscan(out, &seen); err != nil {
			t.Fatal(err)
		}
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	victim.Wait()

	h := open(t, dir)
	defer closeHost(t, h)
	if err := h.Host().GarbageCollect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range seen + 1 {
		img, err := h.Host().Images.Get(inNamespace(t), fmt.Sprintf("image-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := content.ReadBlob(inNamespace(t), h.Host().Content, img.Target); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerLoss lets a host lose what was not synced and checks that it goes on with what was, and that names handed out
// in the lost time do no harm.
func TestPowerLoss(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	host, ctx := h.Host(), inNamespace(t)
	commit := func(host plugin.Host, name string) {
		t.Helper()
		if _, err := host.Snapshotter.Prepare(ctx, "key-"+name, ""); err != nil {
			t.Fatal(err)
		}
		if err := host.Snapshotter.Commit(ctx, name, "key-"+name); err != nil {
			t.Fatal(err)
		}
	}
	commit(host, "synced")
	store(ctx, host, "synced")
	if err := host.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(filepath.Join(dir, "root", "meta.db.safe"))
	if err != nil {
		t.Fatal(err)
	}
	commit(host, "lost")
	store(ctx, host, "lost")
	full, err := os.ReadFile(filepath.Join(dir, "root", "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	closeHost(t, h)
	// The disk as it was before the orderly end, with the record of another boot: one byte of the boot id differs, and
	// the checksum follows it.
	for name, b := range map[string][]byte{"meta.db": full, "meta.db.safe": otherBoot(record)} {
		if err := os.WriteFile(filepath.Join(dir, "root", name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	h = open(t, dir)
	defer closeHost(t, h)
	host = h.Host()
	if _, err := host.Images.Get(ctx, "synced"); err != nil {
		t.Error(err)
	}
	if _, err := host.Snapshotter.Stat(ctx, "synced"); err != nil {
		t.Error(err)
	}
	if _, err := host.Images.Get(ctx, "lost"); !errdefs.IsNotFound(err) {
		t.Errorf("image that was not synced: %v", err)
	}
	commit(host, "lost") // the backend still has the one of before
	store(ctx, host, "lost")
	if err := host.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
}

// otherBoot rewrites both slots of a safe point record as if another boot had written them.
func otherBoot(record []byte) []byte {
	const slot, bootID, end = 4096, 16, 8 + 8 + 36 + 64
	out := append([]byte{}, record...)
	for off := 0; off+end+4 <= len(out); off += slot {
		copy(out[off+bootID:], "00000000")
		sum := crc32.Checksum(out[off:off+end], crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(out[off+end:], sum)
	}
	return out
}

func TestGarbageCollection(t *testing.T) {
	h := open(t, t.TempDir())
	defer closeHost(t, h)
	host, ctx := h.Host(), inNamespace(t)
	lease, err := host.Leases.Create(ctx, leases.WithID("build"), leases.WithExpiration(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	leased := leases.WithLease(ctx, lease.ID)
	desc := ocispec.Descriptor{Digest: digest.FromString("blob"), Size: 4}
	if err := content.WriteBlob(leased, host.Content, "blob", strings.NewReader("blob"), desc); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Snapshotter.Prepare(leased, "key", ""); err != nil {
		t.Fatal(err)
	}
	if err := host.Snapshotter.Commit(leased, "name", "key"); err != nil {
		t.Fatal(err)
	}
	if err := host.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Content.Info(ctx, desc.Digest); err != nil {
		t.Errorf("leased blob: %v", err)
	}
	if err := host.Leases.Delete(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if err := host.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Content.Info(ctx, desc.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("blob after its lease: %v", err)
	}
	if _, err := host.Snapshotter.Stat(ctx, "name"); !errdefs.IsNotFound(err) {
		t.Errorf("snapshot after its lease: %v", err)
	}
	if err := host.Backend.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		return fmt.Errorf("backend still has %s", info.Name)
	}); err != nil {
		t.Error(err)
	}

	expired, err := host.Leases.Create(ctx, leases.WithID("expired"), leases.WithExpiration(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := content.WriteBlob(leases.WithLease(ctx, expired.ID), host.Content, "blob", strings.NewReader("blob"), desc); err != nil {
		t.Fatal(err)
	}
	if err := host.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Content.Info(ctx, desc.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("blob after its lease expired: %v", err)
	}
}

func TestTwoHosts(t *testing.T) {
	dir := t.TempDir()
	one, two := open(t, filepath.Join(dir, "one")), open(t, filepath.Join(dir, "two"))
	defer closeHost(t, one)
	defer closeHost(t, two)
	for _, h := range []*embedded.Host{one, two} {
		if _, err := h.Serve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	store(inNamespace(t), one.Host(), "only-in-one")
	if _, err := two.Host().Images.Get(inNamespace(t), "only-in-one"); !errdefs.IsNotFound(err) {
		t.Errorf("hosts share images: %v", err)
	}
	_, err := embedded.Open(t.Context(), config(filepath.Join(dir, "one")))
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "kilnd.lock, another instance running?") {
		t.Errorf("second host on one directory: %v", err)
	}
}

func TestOpenRefusals(t *testing.T) {
	for name, cfg := range map[string]embedded.Config{
		"relative root": {Root: "root", State: "/state", Namespace: "n"},
		"no namespace":  {Root: "/root", State: "/state"},
	} {
		if _, err := embedded.Open(t.Context(), cfg); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
