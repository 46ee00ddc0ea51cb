package imagestore

import (
	"sync"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// progressPause is the least time between two messages about the bytes of one
// layer.
const progressPause = 100 * time.Millisecond

// Output takes the messages of a transfer; it is called by one goroutine at a
// time.
type Output func(route.Message)

// reporter tells of the layers of one transfer.
type reporter struct {
	mu  sync.Mutex
	out Output
}

// status tells of the whole.
func (r *reporter) status(id, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out(route.Message{ID: id, Status: text})
}

// aux tells what is not for people.
func (r *reporter) aux(v any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out(route.Message{Aux: v})
}

// layer tells of one blob.
func (r *reporter) layer(d ocispecs.Descriptor, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out(route.Message{ID: shorten(d.Digest), Status: text, Progress: &route.Progress{}})
}

// counter tells how much of a blob has moved.
type counter struct {
	r    *reporter
	desc ocispecs.Descriptor
	text string

	mu   sync.Mutex
	done int64
	last time.Time
}

func (r *reporter) counter(d ocispecs.Descriptor, text string) *counter {
	return &counter{r: r, desc: d, text: text}
}

// add counts n more bytes.
func (c *counter) add(n int64) {
	c.mu.Lock()
	c.done += n
	now, done := time.Now(), c.done
	if now.Sub(c.last) < progressPause {
		c.mu.Unlock()
		return
	}
	c.last = now
	c.mu.Unlock()
	// A transfer that begins anew has read more than there is.
	p := &route.Progress{Current: min(done, c.desc.Size), Total: c.desc.Size}
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.r.out(route.Message{ID: shorten(c.desc.Digest), Status: c.text, Progress: p})
}
