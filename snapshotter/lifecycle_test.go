package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestVolatile(t *testing.T) {
	ctx := t.Context()
	root := t.TempDir()
	s := open(t, root, quick)
	layer(t, s, "base", "", files{"a": "1"})
	for _, key := range []string{"k", "lost"} {
		mounts, err := s.Prepare(ctx, key, "base", WithVolatile())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(mounts[0].Options, ","), ",volatile") {
			t.Skip("kernel without volatile overlay mounts (before 5.10)")
		}
		mounted(t, mounts, func(dir string) { files{"b": "1"}.write(t, dir) })
		// The kernel's mark is there, and Mounts takes it away.
		if err := Mount(mounts, t.TempDir()); err == nil {
			t.Fatal("the kernel mounted a volatile layer twice; the test is out of date")
		}
		if mounts, err = s.Mounts(ctx, key); err != nil {
			t.Fatal(err)
		}
		mounted(t, mounts, func(dir string) { files{"c": "1"}.write(t, dir) })
	}
	if err := s.Commit(ctx, "n", "k"); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.View(ctx, "v", "n")
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1", "b": "1", "c": "1"})

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, root, quick)
	if _, err := s.Stat(ctx, "lost"); !errdefs.IsNotFound(err) {
		t.Errorf("a volatile snapshot of an earlier process: %v", err)
	}
	// Its number is free again, its files are not.
	if _, err := s.Prepare(ctx, "next", "base"); err != nil {
		t.Fatal(err)
	}
	if upper, err := s.UpperDir(ctx, "next"); err != nil || len(tree(t, upper)) != 0 {
		t.Errorf("layer %s of a new snapshot: %v", upper, err)
	}
	if err := s.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
	if mounts, err = s.Mounts(ctx, "v"); err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1", "b": "1", "c": "1"})
}

// A failed flush may concern any layer that was being written, and only them.
func TestDiskFailureIsRemembered(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), Config{NoMetadataSync: true})
	for _, key := range []string{"a", "b"} {
		if _, err := s.Prepare(ctx, key, ""); err != nil {
			t.Fatal(err)
		}
	}
	real := s.disk.syncfs
	s.disk.syncfs = func(int) error { return unix.EIO }
	if err := s.Commit(ctx, "nb", "b"); !errdefs.IsDataLoss(err) || !errors.Is(err, unix.EIO) {
		t.Errorf("commit while the disk fails: %v", err)
	}
	s.disk.syncfs = real // the kernel reports it once
	for _, key := range []string{"a", "b"} {
		if err := s.Commit(ctx, "n"+key, key); !errdefs.IsDataLoss(err) {
			t.Errorf("commit of %s after the disk failed: %v", key, err)
		}
		if info, err := s.Stat(ctx, key); err != nil || info.Kind != snapshots.KindActive {
			t.Errorf("%s after failed commit: %+v, %v", key, info, err)
		}
	}
	layer(t, s, "later", "", files{"x": "1"})
}

// Commits that wait for the same flush share it, and none returns before one
// that began after it asked.
func TestCommitsShareFlushes(t *testing.T) {
	var mu sync.Mutex
	flushes := 0
	d := &disk{root: os.Stdin, syncfs: func(int) error {
		mu.Lock()
		defer mu.Unlock()
		flushes++
		return nil
	}}
	d.mu.Lock()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := d.sync(uint64(i + 1)); err != nil {
				t.Error(err)
			}
		})
	}
	for d.waiting.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	d.mu.Unlock()
	wg.Wait()
	if flushes != 1 {
		t.Errorf("%d flushes for 20 commits that waited together", flushes)
	}
	if err := d.sync(21); err != nil || flushes != 2 {
		t.Errorf("%d flushes after one more, %v", flushes, err)
	}
}

func TestCleanupFindsOrphans(t *testing.T) {
	ctx := t.Context()
	root := t.TempDir()
	s := open(t, root, quick)
	layer(t, s, "keep", "", files{"a": "1"})
	if err := s.SetIndex(ctx, "keep", []byte("i")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"fs/2/x", "fs/77/d/x", "work/77/work/x", "index/99", "index/1.dead-1", "fs/junk", "trash/old/x"} {
		files{path: "1"}.write(t, root)
	}
	// A number that a lost transaction had given out is taken over cleanly.
	if _, err := s.Prepare(ctx, "k", ""); err != nil {
		t.Fatal(err)
	}
	upper, err := s.UpperDir(ctx, "k")
	if err != nil || filepath.Base(upper) != "2" {
		t.Fatal(upper, err)
	}
	if got := tree(t, upper); len(got) != 0 {
		t.Errorf("new layer has %v", got)
	}
	files{"index/2.": "1"}.write(t, root)
	if err := s.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
	if got, err := s.Index(ctx, "keep"); err != nil || string(got) != "i" {
		t.Errorf("index of what stays: %q, %v", got, err)
	}
	mounts, err := s.View(ctx, "v", "keep")
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1"})
}

func TestCleanupIsBounded(t *testing.T) {
	ctx := t.Context()
	cfg := quick
	cfg.CleanupLimit = time.Nanosecond
	s := open(t, t.TempDir(), cfg)
	layer(t, s, "n", "", files{"a": "1"})
	if err := s.Remove(ctx, "n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Cleanup(ctx); err != nil {
		t.Errorf("cleanup at its own limit: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Cleanup(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled cleanup: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Join(s.layout.root, trashName)); len(entries) == 0 {
		t.Error("an interrupted cleanup deleted something")
	}
	s.config.CleanupLimit = 0
	if err := s.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
}

// Everything at once, for the race detector and for the directories.
func TestConcurrent(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"a": "1"})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				key, name := fmt.Sprintf("k%d-%d", w, i), fmt.Sprintf("n%d-%d", w, i)
				_, err := s.Merge(ctx, key, []Span{{Upper: "base"}})
				err = errors.Join(err, s.SetIndex(ctx, key, []byte(name)), s.Commit(ctx, name, key))
				if i%3 == 0 {
					err = errors.Join(err, s.Remove(ctx, name))
				}
				if i%5 == 0 {
					s.rescan.Store(true)
					err = errors.Join(err, s.Cleanup(ctx))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	// All workers race for the same names too: one of them wins.
	won := make(chan int, 8)
	for w := range 8 {
		wg.Go(func() {
			if _, err := s.Prepare(ctx, "same", "base"); err == nil {
				won <- w
			} else if !errdefs.IsAlreadyExists(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d prepared the same key", len(won))
	}
	if err := s.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
	if err := s.Walk(ctx, func(ctx context.Context, i snapshots.Info) error {
		upper, err := s.UpperDir(ctx, i.Name)
		if err == nil && !exists(upper) {
			t.Errorf("%s has no directory", i.Name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	root := t.TempDir()
	open(t, root, quick)
	if _, err := New(t.Context(), root, quick); err == nil {
		t.Error("two snapshotters on one root")
	}
}

// When the disk is full, calls fail, what is there stays whole, and removing
// makes room again.
func TestDiskFull(t *testing.T) {
	ctx := t.Context()
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=3m"); err != nil {
		t.Fatal(err)
	}
	defer mount.UnmountAll(root, 0)
	s := open(t, root, Config{})
	n := 0
	commit := func() error {
		key := fmt.Sprint("k", n)
		if _, err := s.Prepare(ctx, key, ""); err != nil {
			return err
		}
		upper, err := s.UpperDir(ctx, key)
		if err == nil {
			err = os.WriteFile(filepath.Join(upper, "f"), make([]byte, 100<<10), 0o644)
		}
		if err == nil {
			err = s.Commit(ctx, fmt.Sprint("n", n), key)
		}
		if err != nil {
			return errors.Join(err, s.Remove(ctx, key))
		}
		n++
		return nil
	}
	for n < 100 {
		err := commit()
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 || n == 100 {
		t.Fatalf("%d layers fit", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, root, Config{})
	defer s.Close()
	for i := range n {
		upper, err := s.UpperDir(ctx, fmt.Sprint("n", i))
		if err != nil || len(tree(t, upper)["f"]) != 100<<10 {
			t.Errorf("layer %d: %v", i, err)
		}
	}
	// Room for one layer and the few pages that the database takes for it.
	if err := errors.Join(s.Remove(ctx, "n0"), s.Remove(ctx, "n1"), s.Cleanup(ctx)); err != nil {
		t.Fatalf("make room: %v", err)
	}
	verifyClean(t, s)
	if err := commit(); err != nil {
		t.Errorf("after making room: %v", err)
	}
}

// Without privileges outside its user namespace, the snapshotter does the same.
func TestInUserNamespace(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^(TestMerge|TestMergeOfMerges|TestVolatile|TestUsage|TestMountBelowLongRoot)$")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "SKIP") || !strings.Contains(string(out), "--- PASS: TestVolatile") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Below a root with a long name, layers do not fit the new mount API's strings.
func TestMountBelowLongRoot(t *testing.T) {
	ctx := t.Context()
	root := filepath.Join(t.TempDir(), strings.Repeat("long/", 60))
	s := open(t, root, quick)
	parent := ""
	for i := range 15 {
		layer(t, s, fmt.Sprint("n", i), parent, files{fmt.Sprint("f", i): "1"})
		parent = fmt.Sprint("n", i)
	}
	mounts, err := s.Prepare(ctx, "k", parent)
	if err != nil {
		t.Fatal(err)
	}
	if !needsAttach(&mounts[0]) {
		t.Fatal("root is not long enough")
	}
	mounted(t, mounts, func(dir string) {
		if got := tree(t, dir); len(got) != 15 {
			t.Errorf("mounted %v", got)
		}
	})
	mounts[0].Options = append(mounts[0].Options, "nonsense=1")
	if err := Mount(mounts, t.TempDir()); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("mount with a bad option: %v", err)
	}
}
