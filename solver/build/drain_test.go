package build

import (
	"testing"

	"github.com/containerd/errdefs"
)

// TestDrain checks that late builds are refused, and that who watches learns of starts and ends.
func TestDrain(t *testing.T) {
	b := New(Config{})
	n, changed := b.Watch()
	running := &job{id: "running"}
	if err := b.add(running); err != nil || n != 0 {
		t.Fatalf("%d builds, %v", n, err)
	}
	<-changed
	b.Drain()
	if _, err := b.open(&Request{ID: "late"}); !errdefs.IsUnavailable(err) {
		t.Errorf("a late build: %v", err)
	}
	n, changed = b.Watch()
	b.remove(running)
	<-changed
	if after, _ := b.Watch(); n != 1 || after != 0 {
		t.Errorf("%d builds, then %d", n, after)
	}
}
