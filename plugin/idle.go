package plugin

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/progress"
)

// idleDelay is how long nothing must run before memory is given back. It is
// longer than the pause between two builds of one command.
const idleDelay = 5 * time.Second

// idler gives memory back to the system when the daemon has nothing to do: the
// runtime by itself keeps what the largest build needed for minutes. It is a
// build.Observer. The zero value is ready.
type idler struct {
	mu      sync.Mutex
	running int
	timer   *time.Timer
	stopped bool
}

// Started keeps the memory.
func (i *idler) Started(*build.Record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running++
	if i.timer != nil {
		i.timer.Stop()
	}
}

// Ended gives memory back after a while, unless there is another build by then.
func (i *idler) Ended(context.Context, *build.Record, *progress.Reader) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running--
	if i.running > 0 || i.stopped {
		return
	}
	if i.timer == nil {
		i.timer = time.AfterFunc(idleDelay, giveBack)
		return
	}
	i.timer.Reset(idleDelay)
}

// start gives back what the start needed once, unless a build comes first.
func (i *idler) start() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.timer == nil && !i.stopped {
		i.timer = time.AfterFunc(idleDelay, giveBack)
	}
}

// giveBack collects twice: pools survive the first time.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
	trimProgram()
}

// close ends it; nothing happens any more.
func (i *idler) close(context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	if i.timer != nil {
		i.timer.Stop()
	}
	return nil
}
