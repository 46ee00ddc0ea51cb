package build

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// errDraining is what builds that come too late are told; clients may try again.
var errDraining = fmt.Errorf("the builder is stopping and takes no new builds; try again when it is back: %w", errdefs.ErrUnavailable)

// Drain makes the builder refuse builds that have not started; those that run
// go on, with everything they still open. It cannot be undone.
func (b *Builder) Drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = true
}

// admit returns why no build may start now, or nil.
func (b *Builder) admit() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining {
		return errDraining
	}
	return nil
}

// Watch returns how many builds run, and a channel that is closed when that
// may have changed.
func (b *Builder) Watch() (running int, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.jobs), b.changed
}

// wake tells everybody who waits that something changed. b.mu is held.
func (b *Builder) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}
