package snapshotter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

var benchConfigs = []struct {
	name string
	cfg  Config
}{
	{"durable", Config{}},
	{"nosync", quick},
}

// BenchmarkChain prepares, writes one small file and commits, each on top of
// the one before, starting anew every 100.
func BenchmarkChain(b *testing.B) {
	for _, c := range benchConfigs {
		for _, volatile := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/volatile=%v", c.name, volatile), func(b *testing.B) {
				benchChain(b, open(b, b.TempDir(), c.cfg), volatile)
			})
		}
	}
}

func benchChain(b *testing.B, s *Snapshotter, volatile bool) {
	ctx, parent, i := b.Context(), "", 0
	var opts []snapshots.Opt
	if volatile {
		opts = append(opts, WithVolatile())
	}
	for b.Loop() {
		if i%100 == 0 {
			parent = ""
		}
		name := fmt.Sprint("n", i)
		_, err := s.Prepare(ctx, "k", parent, opts...)
		if err != nil {
			b.Fatal(err)
		}
		upper, err := s.UpperDir(ctx, "k")
		if err == nil {
			err = os.WriteFile(filepath.Join(upper, "f"), []byte("x"), 0o644)
		}
		if err == nil {
			err = s.Commit(ctx, name, "k")
		}
		if err != nil {
			b.Fatal(err)
		}
		parent = name
		i++
	}
}

// BenchmarkPrepare is Prepare and Remove on chains of several lengths.
func BenchmarkPrepare(b *testing.B) {
	for _, c := range benchConfigs {
		for _, depth := range []int{1, 50, 450} {
			b.Run(fmt.Sprintf("%s/%d", c.name, depth), func(b *testing.B) {
				s := open(b, b.TempDir(), c.cfg)
				top := benchLayers(b, s, depth)
				i := 0
				for b.Loop() {
					key := fmt.Sprint("k", i)
					if _, err := s.Prepare(b.Context(), key, top); err != nil {
						b.Fatal(err)
					}
					if err := s.Remove(b.Context(), key); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	}
}

func benchLayers(b *testing.B, s *Snapshotter, depth int) (top string) {
	eager := s.store.eager
	s.store.eager = false
	defer func() { s.store.eager = eager }()
	for i := range depth {
		name := fmt.Sprint("n", i)
		if _, err := s.Prepare(b.Context(), "k", top); err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(b.Context(), name, "k"); err != nil {
			b.Fatal(err)
		}
		top = name
	}
	return top
}

// BenchmarkStep is what a build step costs: prepare, mount, write, unmount,
// commit, with and without volatile mounts.
func BenchmarkStep(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 20} {
		for _, volatile := range []bool{false, true} {
			b.Run(fmt.Sprintf("bytes=%d/volatile=%v", size, volatile), func(b *testing.B) {
				s := open(b, b.TempDir(), Config{})
				top, data := benchLayers(b, s, 5), make([]byte, size)
				var opts []snapshots.Opt
				if volatile {
					opts = append(opts, WithVolatile())
				}
				dir, i := b.TempDir(), 0
				for b.Loop() {
					name := fmt.Sprint("s", i)
					mounts, err := s.Prepare(b.Context(), "k", top, opts...)
					if err == nil {
						err = Mount(mounts, dir)
					}
					if err == nil {
						err = os.WriteFile(filepath.Join(dir, "f"), data, 0o644)
					}
					if err == nil {
						err = mount.UnmountAll(dir, 0)
					}
					if err == nil {
						err = s.Commit(b.Context(), name, "k")
					}
					if err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	}
}

// BenchmarkOpen must not depend on the number of snapshots.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			root := b.TempDir()
			s := open(b, root, quick)
			for i := range n {
				if _, err := s.View(b.Context(), fmt.Sprint("v", i), ""); err != nil {
					b.Fatal(err)
				}
			}
			s.Close()
			for b.Loop() {
				s, err := New(b.Context(), root, Config{})
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}

// BenchmarkWalk reads 10,000 records, as containerd's garbage collector does.
func BenchmarkWalk(b *testing.B) {
	s := open(b, b.TempDir(), quick)
	for i := range 10000 {
		if _, err := s.View(b.Context(), fmt.Sprintf("buildkit/%d/sha256:%064d", i, i), ""); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.Walk(b.Context(), func(context.Context, snapshots.Info) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUsage(b *testing.B) {
	dir := b.TempDir()
	for i := range 5000 {
		files{fmt.Sprintf("%d/%d", i%50, i): "x"}.write(b, dir)
	}
	for b.Loop() {
		if _, err := diskUsage(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
}
