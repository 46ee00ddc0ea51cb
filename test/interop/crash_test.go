package interop_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// chain is the number of steps of the Dockerfile that is interrupted, and
// chainStep how long one sleeps.
const (
	chain     = 6
	chainStep = 150 * time.Millisecond
)

// chainDockerfile is a chain of steps, each of which makes a number nobody
// else makes, prints it and keeps it; the last prints what all have kept. A
// step that ran twice shows.
func chainDockerfile(base, round string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM %s\n", base)
	for i := range chain {
		fmt.Fprintf(&b, "RUN : %s link-%d; cat /proc/sys/kernel/random/uuid | tee /link-%d; sleep %.2f\n", round, i, i, chainStep.Seconds())
	}
	b.WriteString("RUN : sum; cat")
	for i := range chain {
		fmt.Fprintf(&b, " /link-%d", i)
	}
	return b.String() + "\n"
}

// TestKillInMidBuild kills the daemon ten times at random moments of a build.
// It must start at once, keep what was finished, and build the right thing.
func TestKillInMidBuild(t *testing.T) {
	ref := base(t, "busybox")
	d := fresh(t, daemon.Config{})
	dockerfile(t, d, folder(t, "Dockerfile", "FROM "+ref+"\nRUN true\n")).ok(t)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var starts []time.Duration
	for round := range 10 {
		dir := folder(t, "Dockerfile", chainDockerfile(ref, fmt.Sprintf("%d-%d", seed, round)))
		after := time.Duration(random.Int64N(int64((chain + 2) * (chainStep + 60*time.Millisecond))))
		before := interrupted(t, d, dir, after)
		took, err := d.Start(t.Context())
		if err != nil {
			t.Fatalf("start after kill in round %d: %v", round, err)
		}
		starts = append(starts, took)
		checkSurvivor(t, d, dir, before)
	}
	slices.Sort(starts)
	t.Logf("starts after a kill took %s to %s", starts[0], starts[len(starts)-1])
	// The slowest ones are the machine's doing: other tests run beside this.
	if median := starts[len(starts)/2]; median > time.Second {
		t.Errorf("a start after kill -9 took %s, promised is one second", median)
	}
}

// interrupted starts a build, kills the daemon after a while and returns what
// the client had been told by then.
func interrupted(t *testing.T, d *daemon.Daemon, dir string, after time.Duration) steps {
	t.Helper()
	client := exec.CommandContext(t.Context(), foreign(t, "buildctl"), append([]string{"--addr", d.Address}, buildArgs(dir)...)...)
	said := &transcript{}
	client.Stdout, client.Stderr = said, said
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	d.Kill()
	killed := time.Now()
	err := client.Wait()
	all := readSteps(said.until(time.Now()))
	if err == nil && !all.finished("sum") {
		t.Errorf("the client did not notice that the daemon died:\n%s", said.until(time.Now()))
	}
	all.done = readSteps(said.until(killed.Add(-recordWithin))).done
	return all
}

// recordWithin is how long after the end of a step its record may take to
// reach the disk: records are written in groups.
const recordWithin = 200 * time.Millisecond

// transcript keeps what a client says and when it said it.
type transcript struct {
	mu    sync.Mutex
	parts []remark
}

// remark is one write of a client.
type remark struct {
	at   time.Time
	text string
}

// Write keeps the text.
func (c *transcript) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = append(c.parts, remark{time.Now(), string(p)})
	return len(p), nil
}

// until returns what had been said at a moment.
func (c *transcript) until(end time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, r := range c.parts {
		if r.at.Before(end) {
			b.WriteString(r.text)
		}
	}
	return b.String()
}

// checkSurvivor looks at a daemon that was started after a kill, and builds
// what was interrupted.
func checkSurvivor(t *testing.T, d *daemon.Daemon, dir string, before steps) {
	t.Helper()
	f := daemon.Look(t, d)
	f.Leases, f.Goroutines, f.Files = nil, 0, 0
	if left := f.Over(daemon.Footprint{}); left != "" {
		t.Errorf("left after the start:\n%s", left)
	}
	out := dockerfile(t, d, dir).ok(t)
	s := readSteps(out.stderr)
	sum := strings.Fields(s.output(": sum"))
	if len(sum) == 0 {
		sum = strings.Fields(before.output(": sum")) // It was done before.
	}
	if len(sum) != chain {
		t.Fatalf("the last step shows %q\n%s", sum, out.stderr)
	}
	finished := 0
	for i := range chain {
		link := fmt.Sprintf("link-%d;", i)
		if before.finished(link) {
			finished++
			if !s.wasCached(link) {
				t.Errorf("step %d had finished before the kill and ran again", i)
			} else if want := strings.TrimSpace(before.output(link)); want != "" && sum[i] != want {
				t.Errorf("step %d made %s before the kill, the result has %s", i, want, sum[i])
			}
		} else if got := strings.TrimSpace(s.output(link)); got != "" && got != sum[i] {
			t.Errorf("step %d made %s, the result has %s", i, got, sum[i])
		}
	}
	t.Logf("%d steps had finished", finished)
}

// TestKillClient kills the client in the middle of a step: the step
// must end, and nothing may be left.
func TestKillClient(t *testing.T) {
	ref := base(t, "busybox")
	d := watch(t)
	dir := folder(t, "Dockerfile", "FROM "+ref+"\nRUN : client gone; echo begun; sleep 1000\n")
	before := daemon.Look(t, d)
	client := exec.CommandContext(t.Context(), foreign(t, "buildctl"), append([]string{"--addr", d.Address}, buildArgs(dir)...)...)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); len(daemon.Look(t, d).Processes) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the step did not begin")
		}
	}
	_ = client.Process.Kill()
	_ = client.Wait()
	before.Goroutines += 4
	before.Files += 4
	daemon.Settle(t, d, before)
	if got := buildctl(t, d, "debug", "workers").ok(t).stdout; got == "" {
		t.Error("no workers")
	}
}
