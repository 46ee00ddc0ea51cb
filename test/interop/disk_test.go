package interop_test

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/test/daemon"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// smallDisk mounts a file system of so many MB and returns where.
func smallDisk(t *testing.T, megabytes int64) string {
	t.Helper()
	dir := t.TempDir()
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	write(t, image, "")
	if err := os.Truncate(image, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "", nil, "mkfs.ext4", "-q", "-m", "0", "-F", image).ok(t)
	run(t, "", nil, "mount", "-o", "loop", image, at).ok(t)
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
	return at
}

// hugeImage serves an image that is small at the registry only.
func hugeImage(t *testing.T) string {
	t.Helper()
	layer, err := fixtures.NewLayer(func(add func(tar.Header, []byte) error) error {
		return add(tar.Header{Name: "huge", Mode: 0o644}, make([]byte, 100<<20))
	})
	if err == nil {
		_, err = world.registry.Push(t.Context(), "huge", "latest", fixtures.Image{Platform: fixtures.Native(), Layers: []fixtures.Layer{layer}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return world.registry.Addr + "/huge:latest"
}

// TestDiskFull fills the daemon's disk in each way a build can. Each build
// fails saying so, the daemon goes on, and after pruning it builds again.
func TestDiskFull(t *testing.T) {
	d := fresh(t, daemon.Config{Root: filepath.Join(smallDisk(t, 64), "root")})
	busybox := base(t, "busybox")
	good := folder(t, "Dockerfile", "FROM "+busybox+"\nRUN echo good > /file; cat /file\n")
	dockerfile(t, d, good).ok(t)
	before := daemon.Look(t, d)
	before.Goroutines, before.Files = before.Goroutines+4, before.Files+8

	big := folder(t, "Dockerfile", "FROM "+busybox+"\nCOPY big /\n")
	write(t, filepath.Join(big, "big"), strings.Repeat("0123456789abcdef", 100<<16))
	// One layer fits, its blob does not.
	half := folder(t, "Dockerfile", "FROM "+busybox+"\nRUN dd if=/dev/urandom of=/half bs=1M count=40\n")
	ways := []struct {
		name, dir string
		args      []string
		line      string
	}{
		{"pull", folder(t, "Dockerfile", "FROM "+hugeImage(t)+"\nCOPY --from="+busybox+" /bin /bin\n"), nil, "Dockerfile:1"},
		{"step", folder(t, "Dockerfile", "FROM "+busybox+"\nRUN dd if=/dev/zero of=/big bs=1M count=200\n"), nil, "Dockerfile:2"},
		{"context", big, nil, ""},
		{"export", half, []string{"--output=type=image,name=full.example/half,compression=gzip"}, "exporting"},
		{"cache export", half, []string{"--export-cache=type=registry,mode=max,ref=" + world.registry.Addr + "/full/cache:1"}, "exporting cache"},
	}
	for _, way := range ways {
		out := dockerfile(t, d, way.dir, way.args...)
		if out.err == nil || !strings.Contains(strings.ToLower(out.stderr), "no space left on device") || !strings.Contains(out.stderr, way.line) {
			t.Errorf("%s: %v\n%s", way.name, out.err, out.stderr)
		}
		buildctl(t, d, "debug", "workers").ok(t)
		buildctl(t, d, "prune", "--all").ok(t)
		nothingHalf(t, d, "full.example/half")
	}
	again := dockerfile(t, d, good).ok(t)
	if got := readSteps(again.stderr).output("echo good"); got != "good\n" {
		t.Errorf("after pruning the build printed %q\n%s", got, again.stderr)
	}
	now := daemon.Look(t, d)
	before.Leases = now.Leases
	daemon.Settle(t, d, before)
}

// TestCorruptBlob changes a byte of a layer behind the daemon's back. What
// leaves the daemon is right or nothing, and pruning repairs it.
func TestCorruptBlob(t *testing.T) {
	d := fresh(t, daemon.Config{})
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo corrupt > /file\n")
	out := filepath.Join(t.TempDir(), "image.tar")
	dockerfile(t, d, dir, "--output=type=oci,dest="+out).ok(t)
	spoil(t, filepath.Join(d.Root, "content", "blobs", "sha256"))
	spoilt := dockerfile(t, d, dir, "--output=type=oci,dest="+out+"2")
	if spoilt.err == nil {
		t.Errorf("a corrupt layer was exported:\n%s", spoilt.stderr)
	}
	spoilt.failed(t, "sha256:")
	pushed := dockerfile(t, d, dir, "--output=type=image,push=true,name="+world.registry.Addr+"/corrupt:test")
	if pushed.err == nil {
		unpackImage(t, "docker://"+world.registry.Addr+"/corrupt:test") // Fails on wrong bytes.
	}
	buildctl(t, d, "prune", "--all").ok(t)
	dockerfile(t, d, dir, "--output=type=oci,dest="+out+"3").ok(t)
	if got := read(t, filepath.Join(unpackImage(t, "oci-archive:"+out+"3"), "file")); got != "corrupt\n" {
		t.Errorf("after pruning the file says %q", got)
	}
}

// spoil changes one byte in the middle of the largest file below dir.
func spoil(t *testing.T, dir string) {
	t.Helper()
	var largest string
	var size int64
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil || size == 0 {
		t.Fatalf("no blobs in %s: %v", dir, err)
	}
	file, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, size/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := file.WriteAt(b, size/2); err != nil {
		t.Fatal(err)
	}
}
