package interop_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

const (
	// survivors are builds at once that must end well; victims are clients
	// that are killed while those run.
	survivors, victims = 48, 96
	// kinds is the number of different Dockerfiles among them: equal steps of
	// several clients run once, and outlive the clients that die.
	kinds = 12
	// stormHeap is how much more memory, in bytes, a second storm may leave
	// than a first: buffers and caches that grow once, not what a build holds.
	stormHeap = 12 << 20
)

// TestStorm runs many builds at once and kills twice as many clients at random
// moments. Every build that was left alone must give the right answer, and the
// daemon must hold nothing of any of them.
func TestStorm(t *testing.T) {
	ref := base(t, "busybox")
	d := fresh(t, daemon.Config{})
	dockerfile(t, d, folder(t, "Dockerfile", "FROM "+ref+"\nRUN true\n")).ok(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	before := daemon.Look(t, d)
	var heaps []int64
	for round := range 2 {
		storm(t, d, ref, rand.New(rand.NewPCG(seed, uint64(round))), fmt.Sprintf("%d-%d", seed, round))
		buildctl(t, d, "prune", "--all").ok(t)
		// Goroutines and files of the daemon's own services, opened on demand.
		allowed := before
		allowed.Goroutines += 8
		allowed.Files += 16
		daemon.Settle(t, d, allowed)
		heap, err := d.Heap()
		if err != nil {
			t.Fatal(err)
		}
		heaps = append(heaps, heap)
	}
	t.Logf("live memory after the storms: %d KiB, %d KiB", heaps[0]>>10, heaps[1]>>10)
	if heaps[1] > heaps[0]+stormHeap {
		t.Errorf("live memory grew from %d to %d bytes in the second storm", heaps[0], heaps[1])
	}
	if records := strings.TrimSpace(buildctl(t, d, "du", "--format", "{{range .}}{{.ID}} {{end}}").ok(t).stdout); records != "" {
		t.Errorf("records are left after everything was pruned: %s", records)
	}
}

// storm is one round; the names of its steps contain mark, so that they are
// new to the daemon.
func storm(t *testing.T, d *daemon.Daemon, ref string, random *rand.Rand, mark string) {
	t.Helper()
	var dirs [kinds]string
	for k := range dirs {
		dirs[k] = folder(t, "data", strings.Repeat(fmt.Sprintln(mark, k), 1000), "Dockerfile", stormDockerfile(ref, mark, k))
	}
	client := foreign(t, "buildctl")
	var all sync.WaitGroup
	for i := range survivors {
		all.Go(func() {
			kind := i % kinds
			out := run(t, "", nil, client, append([]string{"--addr", d.Address}, buildArgs(dirs[kind], "--output=type=tar,dest=/dev/null")...)...)
			if out.err != nil {
				t.Errorf("build of kind %d: %v\n%s", kind, out.err, out.stderr)
			}
		})
	}
	lives := make([]time.Duration, victims)
	for i := range lives {
		lives[i] = time.Duration(random.Int64N(int64(3 * time.Second)))
	}
	slots := make(chan struct{}, survivors/2)
	for i := range victims {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			victim := exec.CommandContext(t.Context(), client, append([]string{"--addr", d.Address}, buildArgs(dirs[i%kinds])...)...)
			if err := victim.Start(); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(lives[i])
			_ = victim.Process.Kill() // An error means that its build was done.
			_ = victim.Wait()
		})
	}
	all.Wait()
}

// stormDockerfile has two branches, a copy and a cache mount; its first steps
// are those of every kind, its last ones check what all have made.
func stormDockerfile(ref, mark string, kind int) string {
	return fmt.Sprintf(`FROM %[1]s AS shared
RUN : %[2]s; echo shared > /shared; sleep 0.3
FROM shared AS left
COPY data /data
RUN --mount=type=cache,id=storm,target=/cache : %[2]s; echo %[3]d >> /cache/seen; wc -l < /data > /left; sleep 0.2
FROM shared AS right
RUN : %[2]s %[3]d; echo %[3]d > /right; sleep 0.2
FROM shared
COPY --from=left /left /left
COPY --from=right /right /right
RUN test "$(cat /left /right /shared | tr '\n' ' ')" = "1000 %[3]d shared "
`, ref, mark, kind)
}
