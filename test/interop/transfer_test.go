package interop_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// bulky makes a context whose transfer, compression and upload take a while:
// a few thousand small files and some large ones that do not compress.
func bulky(t *testing.T, seed uint64) string {
	t.Helper()
	dir := folder(t, "Dockerfile", "FROM scratch\nCOPY . /tree/\n")
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	for i := range 2000 {
		write(t, filepath.Join(dir, fmt.Sprint("d", i%50), fmt.Sprint("f", i)), fmt.Sprint(seed, i))
	}
	for i := range 4 {
		data := make([]byte, 8<<20)
		_, _ = noise.Read(data) // It never fails.
		write(t, filepath.Join(dir, fmt.Sprint("large", i)), string(data))
	}
	return dir
}

// checkBulky builds a bulky context and compares what comes back.
func checkBulky(t *testing.T, d *daemon.Daemon, dir, image string) {
	t.Helper()
	out := t.TempDir()
	dockerfile(t, d, dir, "--output=type=local,dest="+out).ok(t)
	run(t, "", nil, "diff", "-r", dir, filepath.Join(out, "tree")).ok(t)
	dockerfile(t, d, dir, "--output=type=image,push=true,name="+image).ok(t)
	run(t, "", nil, "diff", "-r", dir, filepath.Join(unpackImage(t, "docker://"+image), "tree")).ok(t)
}

// TestKillInTransfer kills the daemon while it receives a context, makes a
// layer of it or uploads that. The next build is right.
func TestKillInTransfer(t *testing.T) {
	d := fresh(t, daemon.Config{})
	for round := range 4 {
		dir := bulky(t, uint64(round))
		image := fmt.Sprintf("%s/transfer:%d", world.registry.Addr, round)
		client := exec.CommandContext(t.Context(), foreign(t, "buildctl"), append([]string{"--addr", d.Address},
			buildArgs(dir, "--output=type=image,push=true,name="+image)...)...)
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(1500 * time.Millisecond))))
		d.Kill()
		_ = client.Wait() // It may have been faster.
		if _, err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := daemon.Look(t, d)
		f.Leases, f.Ingests, f.Goroutines, f.Files = nil, nil, 0, 0
		if left := f.Over(daemon.Footprint{}); left != "" {
			t.Errorf("left after the start:\n%s", left)
		}
		checkBulky(t, d, dir, image)
	}
	if open := daemon.Look(t, d).Ingests; len(open) > 0 {
		t.Errorf("ingests are left: %q", open)
	}
}

// TestClientGoneInTransfer ends the client while the daemon receives from it
// or sends to it, politely and not. Nothing is left, and the next build is
// right.
func TestClientGoneInTransfer(t *testing.T) {
	d := watch(t)
	dir := bulky(t, 1000)
	before := daemon.Look(t, d)
	before.Goroutines, before.Files = before.Goroutines+4, before.Files+16
	for round, sig := range []os.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL, syscall.SIGINT} {
		write(t, filepath.Join(dir, "round"), fmt.Sprint(round))
		output := "--output=type=oci,dest=" + filepath.Join(t.TempDir(), "out.tar")
		client := exec.CommandContext(t.Context(), foreign(t, "buildctl"), append([]string{"--addr", d.Address}, buildArgs(dir, output)...)...)
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
		_ = client.Process.Signal(sig) // It may have been faster.
		_ = client.Wait()
	}
	now := daemon.Look(t, d)
	before.Leases = now.Leases
	daemon.Settle(t, d, before)
	checkBulky(t, d, dir, world.registry.Addr+"/transfer:gone")
}

// TestPruneGivesBack: after pruning, the daemon's containerd owns nothing but
// what was pulled a moment ago.
func TestPruneGivesBack(t *testing.T) {
	d := fresh(t, daemon.Config{})
	ref := base(t, "busybox")
	for i := range 3 {
		dir := folder(t, "a", "text", "Dockerfile", fmt.Sprintf("FROM %s\nCOPY a /\nRUN --mount=type=cache,target=/c echo %d > /c/x\nRUN mkdir /d%d\n", ref, i, i))
		dockerfile(t, d, dir, "--output=type=image,name=prune:"+fmt.Sprint(i)).ok(t)
		failing := folder(t, "Dockerfile", fmt.Sprintf("FROM %s\nRUN echo %d; false\n", ref, i))
		dockerfile(t, d, failing).failed(t, "exit code: 1")
		ctr(t, d, "images", "rm", "--sync", "docker.io/library/prune:"+fmt.Sprint(i)).ok(t)
	}
	buildctl(t, d, "prune", "--all").ok(t)
	f := daemon.Look(t, d)
	for _, l := range f.Leases {
		// Pulled blobs are kept for some minutes, until a ref owns them; work
		// of this run that no ref owns yet has one lease.
		if !strings.HasPrefix(l, "kiln-images-") && !strings.HasPrefix(l, "kiln-run-") {
			t.Errorf("lease %s is left", l)
		}
	}
	if list := ctr(t, d, "snapshots", "--snapshotter", "kiln", "ls").ok(t).stdout; strings.Count(list, "\n") > 1 {
		t.Errorf("snapshots are left:\n%s", list)
	}
	if du := buildctl(t, d, "du").ok(t).stdout; strings.Count(du, "\n") > 4 {
		t.Errorf("du says\n%s", du)
	}
}
