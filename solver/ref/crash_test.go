package ref

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
)

// crashDir is set in the environment of a child that works until it is killed.
const crashDir = "KILN_REF_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashChild(context.Background(), dir); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashChild makes, keeps and removes refs for ever. It prints what it has
// kept once Keep returned, and what may be gone before Prune is called.
func crashChild(ctx context.Context, dir string) error {
	h, err := newHost(dir, hostOptions{})
	if err != nil {
		return err
	}
	s, err := Open(ctx, h.cfg)
	if err != nil {
		return err
	}
	go func() { _, _ = s.Sweep(ctx) }()
	fmt.Println("open")
	var refs []*Ref
	for i := 0; ; i++ {
		var parent *Ref
		if len(refs) > 0 && rand.IntN(3) > 0 {
			parent = refs[rand.IntN(len(refs))]
		}
		r, err := crashStep(ctx, s, parent, refs, fmt.Sprintf("%d-%d", os.Getpid(), i))
		if err != nil {
			return err
		}
		if rand.IntN(2) == 0 {
			if err := s.Keep(ctx, r); err != nil {
				return err
			}
			fmt.Println("kept", r.ID(), r.GetInfo("file"))
		}
		if refs = append(refs, r); len(refs) > 6 {
			if err := refs[0].Release(ctx); err != nil {
				return err
			}
			refs = refs[1:]
		}
		if rand.IntN(15) == 0 {
			fmt.Println("prune")
			if err := s.Prune(ctx, PruneOptions{MaxUsedSpace: 20 << 10}, nil); err != nil {
				return err
			}
		}
	}
}

// crashStep makes one ref in one of several ways. Its info "file" is the name
// of a file that holds the name.
func crashStep(ctx context.Context, s *Store, parent *Ref, refs []*Ref, name string) (*Ref, error) {
	if rand.IntN(5) == 0 {
		a, err := s.Mutable(ctx, fmt.Sprint("cache", rand.IntN(3)), parent)
		if err != nil {
			return nil, err
		}
		if rand.IntN(2) == 0 {
			err = a.Discard(ctx)
		} else {
			err = a.Release(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	a, err := s.Prepare(ctx, parent)
	if err != nil {
		return nil, err
	}
	dir, release, err := a.Dir(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
		return nil, err
	}
	if err := release(); err != nil {
		return nil, err
	}
	r, err := a.Commit(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := r.Layers(ctx, LayerOptions{Compression: Uncompressed}, nil); err != nil {
		return nil, err
	}
	if parent != nil && rand.IntN(4) == 0 {
		m, err := s.Merge(ctx, []*Ref{r, refs[rand.IntN(len(refs))]})
		if err != nil {
			return nil, err
		}
		if err := r.Release(ctx); err != nil {
			return nil, err
		}
		r = m
	}
	return r, r.SetInfo("file", name)
}

// TestSurvivesKill kills a child at random moments. Whatever it said to be
// kept must be there and whole, opening must work at once, and a sweep must
// find all that is half-made.
func TestSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	const rounds = 6
	for round := range rounds {
		kept := runAndKill(t, dir, time.Duration(20+rand.IntN(250))*time.Millisecond)
		h, err := newHost(dir, hostOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{t: t, host: h}
		f.open()
		for id, file := range kept {
			r, err := f.Get(t.Context(), id)
			if err != nil {
				t.Errorf("round %d: kept ref: %v", round, err)
				continue
			}
			if got := f.files(r); got[file] != file {
				t.Errorf("round %d: ref %s has %v, want %s", round, id, got, file)
			}
			f.release(r)
		}
		if _, err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkRecords(t, f)
		if l := f.left(); l.leases != l.records || l.mounts != 0 {
			t.Errorf("round %d: after sweep: %+v", round, l)
		}
		if round == rounds-1 {
			if err := f.Prune(t.Context(), PruneOptions{All: true}, nil); err != nil {
				t.Fatal(err)
			}
			// The lease of this process remains; views are gone.
			if l := f.left(); l != (left{}) {
				t.Errorf("left behind: %+v", l)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := h.close(); err != nil {
			t.Fatal(err)
		}
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil || len(mounts) > 0 {
		t.Errorf("mounts left: %v, %v", mounts, err)
	}
}

// checkRecords checks that every record can be loaded: none names what is not
// there.
func checkRecords(t *testing.T, f *fixture) {
	t.Helper()
	var ids []string
	err := f.db.each(func(rec *record, _ usedRecord, _ int64) error {
		ids = append(ids, rec.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		e, err := f.hold(t.Context(), id)
		if err != nil {
			t.Errorf("record that names nothing: %v", err)
			continue
		}
		f.Store.release(t.Context(), e)
	}
}

// runAndKill runs a child for the time given and returns what must be there.
func runAndKill(t *testing.T, dir string, after time.Duration) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	opened := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
		case "open":
			opened = true
			time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		case "kept":
			id, file, _ := strings.Cut(rest, " ")
			kept[id] = file
		case "prune":
			clear(kept) // it may take any of them
		case "error":
			t.Errorf("child: %s", rest)
		}
	}
	if err := cmd.Wait(); err == nil || !opened {
		t.Fatalf("child ended by itself or did not open: %v", err)
	}
	return kept
}
