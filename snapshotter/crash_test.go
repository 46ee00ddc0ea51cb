package snapshotter

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// crashChildEnv makes the test binary a process that works on the snapshotter
// in the directory it names until it is killed.
const crashChildEnv = "KILN_SNAPSHOTTER_CRASH_CHILD"

// contentOf is what the layer of a snapshot with that name holds.
func contentOf(name string) map[string]string {
	want := map[string]string{"id": name}
	sum := sha256.Sum256([]byte(name))
	for i := range int(sum[0] % 6) {
		want[fmt.Sprintf("d%d/f%d", sum[1]%3, i)] = strings.Repeat(name+"\n", int(sum[2+i])*40)
	}
	return want
}

// crashChild announces each irrevocable step before and after it, and works
// directly in the layers: mounts would outlive it.
func crashChild() {
	root, seed := os.Getenv(crashChildEnv), os.Args[len(os.Args)-1]
	n, err := strconv.ParseUint(seed, 10, 64)
	if err == nil {
		err = (&crashWorker{rng: rand.New(rand.NewPCG(n, n)), run: seed}).work(root)
	}
	fmt.Fprintln(os.Stderr, "crash child:", err)
	os.Exit(3)
}

type crashWorker struct {
	rng       *rand.Rand
	run       string
	s         *Snapshotter
	active    []string
	committed []string
	views     []string
	n         int
}

func (w *crashWorker) work(root string) (err error) {
	ctx := context.Background()
	// Half of the runs leave the flushes out, which makes the window between
	// two calls, rather than the disk, the likely place to die.
	cfg := Config{NoSyncOnCommit: w.rng.IntN(2) == 0, NoMetadataSync: w.rng.IntN(2) == 0, DeferSync: w.rng.IntN(2) == 0}
	if w.s, err = New(ctx, root, cfg); err != nil {
		return err
	}
	if err := w.s.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		switch i.Kind {
		case snapshots.KindCommitted:
			w.committed = append(w.committed, i.Name)
		case snapshots.KindActive:
			w.active = append(w.active, i.Name)
		default:
			w.views = append(w.views, i.Name)
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
}

func (w *crashWorker) step(ctx context.Context) error {
	w.n++
	name := fmt.Sprintf("%s-%d", w.run, w.n)
	switch w.rng.IntN(10) {
	case 0, 1, 2:
		return w.prepare(ctx, name)
	case 3, 4, 5:
		return w.commit(ctx, name)
	case 6:
		_, err := w.s.View(ctx, name, w.parent())
		w.views = append(w.views, name)
		return err
	case 7, 8:
		return w.remove(ctx)
	default:
		return w.s.Cleanup(ctx)
	}
}

func (w *crashWorker) parent() string {
	if len(w.committed) == 0 || w.rng.IntN(4) == 0 {
		return ""
	}
	return w.committed[w.rng.IntN(len(w.committed))]
}

func (w *crashWorker) prepare(ctx context.Context, name string) error {
	var err error
	if p, q := w.parent(), w.parent(); p != "" && q != "" && w.rng.IntN(3) == 0 {
		_, err = w.s.Merge(ctx, name, []Span{{Upper: p}, {Upper: q}})
	} else {
		var opts []snapshots.Opt
		if w.rng.IntN(3) == 0 {
			opts = append(opts, WithVolatile())
		}
		_, err = w.s.Prepare(ctx, name, p, opts...)
	}
	if errdefs.IsOutOfRange(err) {
		return nil
	}
	w.active = append(w.active, name)
	return err
}

func (w *crashWorker) commit(ctx context.Context, name string) error {
	key := take(w.rng, &w.active)
	if key == "" {
		return nil
	}
	upper, err := w.s.UpperDir(ctx, key)
	if err != nil {
		return err
	}
	// An active snapshot of a killed run may be half written.
	entries, err := os.ReadDir(upper)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(upper, e.Name())))
	}
	for path, content := range contentOf(name) {
		path = filepath.Join(upper, path)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
	}
	if err := errors.Join(err, w.s.SetIndex(ctx, key, []byte("index of "+name))); err != nil {
		return err
	}
	if err := w.s.Commit(ctx, name, key); err != nil {
		return err
	}
	fmt.Println("committed", name)
	w.committed = append(w.committed, name)
	return nil
}

func (w *crashWorker) remove(ctx context.Context) error {
	list := [](*[]string){&w.active, &w.committed, &w.views}[w.rng.IntN(3)]
	key := take(w.rng, list)
	if key == "" {
		return nil
	}
	fmt.Println("removing", key)
	err := w.s.Remove(ctx, key)
	if errdefs.IsFailedPrecondition(err) {
		fmt.Println("kept", key)
		*list = append(*list, key)
		return nil
	}
	return err
}

// take removes a random element.
func take(rng *rand.Rand, list *[]string) string {
	if len(*list) == 0 {
		return ""
	}
	i := rng.IntN(len(*list))
	got := (*list)[i]
	(*list)[i] = (*list)[len(*list)-1]
	*list = (*list)[:len(*list)-1]
	return got
}

func TestSurvivesKill(t *testing.T) {
	root := t.TempDir()
	promised := map[string]bool{} // committed, and no removal was begun
	for run := range 20 {
		killOnce(t, root, run, promised)
		start := time.Now()
		s, err := New(t.Context(), root, quick)
		if err != nil {
			t.Fatalf("run %d: open after kill: %v", run, err)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("run %d: opening took %v", run, d)
		}
		verifyState(t, s, promised)
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatalf("run %d: cleanup: %v", run, err)
		}
		verifyClean(t, s)
		verifyUsable(t, s, run)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d snapshots promised in the end", len(promised))
}

// killOnce runs a child on root for a random moment and records its promises.
func killOnce(t *testing.T, root string, run int, promised map[string]bool) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$", strconv.Itoa(run+1))
	cmd.Env = append(os.Environ(), crashChildEnv+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if first, err := lines.ReadString('\n'); first != "ready\n" {
		t.Fatalf("run %d: child said %q, %v", run, first, err)
	}
	// Some die at once, some after hundreds of operations.
	time.AfterFunc(time.Duration(rand.IntN(1<<rand.IntN(9)))*time.Millisecond, func() { cmd.Process.Kill() })
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		what, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch what {
		case "committed":
			promised[name] = true
		case "removing":
			delete(promised, name)
		}
	}
	err = cmd.Wait()
	if cmd.ProcessState.Exited() {
		t.Fatalf("run %d: child was not killed: %v", run, err)
	}
}

// verifyState checks everything that metadata names.
func verifyState(t *testing.T, s *Snapshotter, promised map[string]bool) {
	t.Helper()
	ctx := t.Context()
	found := map[string]bool{}
	err := s.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		found[info.Name] = true
		lower, err := s.LowerDirs(ctx, info.Name)
		if err != nil {
			return err
		}
		for _, dir := range lower {
			if !exists(dir) {
				t.Errorf("%s: lower directory %s is missing", info.Name, dir)
			}
		}
		if info.Kind == snapshots.KindView {
			return nil
		}
		upper, err := s.UpperDir(ctx, info.Name)
		if err != nil {
			return err
		}
		if !exists(upper) {
			t.Errorf("%s: metadata without directory", info.Name)
		}
		if info.Kind != snapshots.KindCommitted {
			return nil
		}
		if got, want := tree(t, upper), contentOf(info.Name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: incomplete layer", info.Name)
		}
		if index, err := s.Index(ctx, info.Name); err != nil || string(index) != "index of "+info.Name {
			t.Errorf("%s: index %q, %v", info.Name, index, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range promised {
		if !found[name] {
			t.Errorf("%s was committed and is lost", name)
		}
	}
}

// verifyClean checks that there is nothing on disk without metadata.
func verifyClean(t *testing.T, s *Snapshotter) {
	t.Helper()
	for _, dir := range []string{fsName, workName, indexName, trashName} {
		entries, err := os.ReadDir(filepath.Join(s.layout.root, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			err := s.store.view(func(tx *storeTx) error {
				if dir == trashName || !s.owned(tx, e.Name()) {
					t.Errorf("%s/%s was left behind", dir, e.Name())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// verifyUsable mounts what is there, and removes some of it again so that the
// state of many runs stays small.
func verifyUsable(t *testing.T, s *Snapshotter, run int) {
	t.Helper()
	ctx := t.Context()
	var names []string
	if err := s.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		names = append(names, i.Name)
		return nil
	}, "kind==committed"); err != nil || len(names) == 0 {
		return
	}
	name, key := names[run%len(names)], "use-"+strconv.Itoa(run)
	mounts, err := s.Prepare(ctx, key, name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Mount(mounts, dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "id")); err != nil || string(b) != name {
		t.Errorf("mounted %s: read %q, %v", name, b, err)
	}
	if err := errors.Join(mount.UnmountAll(dir, 0), s.Remove(ctx, key)); err != nil {
		t.Fatal(err)
	}
}
