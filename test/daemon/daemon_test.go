package daemon_test

import (
	"slices"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// TestStartKillStop walks through the life of a daemon.
func TestStartKillStop(t *testing.T) {
	d := daemon.Run(t, daemon.Config{})
	f := daemon.Look(t, d)
	if f.Goroutines == 0 || f.Files == 0 || len(f.Processes) != 0 {
		t.Errorf("footprint of an idle daemon: %+v", f)
	}
	first := d.PID()
	d.Kill()
	if _, err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.PID() == first {
		t.Error("same process after Kill and Start")
	}
	daemon.Settle(t, d, f)
}

// TestOver names what is new.
func TestOver(t *testing.T) {
	base := daemon.Footprint{Mounts: []string{"/a"}, Goroutines: 3, Files: 4}
	if got := base.Over(base); got != "" {
		t.Errorf("nothing new, but %q", got)
	}
	now := base
	now.Mounts = append(slices.Clone(base.Mounts), "/b")
	now.Leases = []string{"l"}
	now.Goroutines = 4
	if got, want := now.Over(base), "mount /b\nlease l\n4 goroutines, 3 before\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
