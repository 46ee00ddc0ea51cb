package behind

import "io"

const (
	bufferSize = 256 << 10
	buffers    = 4
)

// Writer writes a stream in a goroutine of its own, a few buffers behind its
// producer. The producer fills whole buffers, so it also joins small writes.
// The goroutine ends with Close, which must be called.
type Writer struct {
	full chan []byte
	free chan []byte
	done chan struct{}
	cur  []byte
	err  error // set before done is closed
}

// New starts the goroutine.
func New(w io.Writer) *Writer {
	b := &Writer{
		full: make(chan []byte, buffers),
		free: make(chan []byte, buffers),
		done: make(chan struct{}),
	}
	for range buffers {
		b.free <- make([]byte, 0, bufferSize)
	}
	go b.run(w)
	return b
}

// run is the goroutine. After an error nobody gets a buffer any more.
func (b *Writer) run(w io.Writer) {
	defer close(b.done)
	for buf := range b.full {
		if _, b.err = w.Write(buf); b.err != nil {
			return
		}
		b.free <- buf[:0]
	}
}

// Write implements io.Writer. Its error is that of an earlier write.
func (b *Writer) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if b.cur == nil {
			select {
			case b.cur = <-b.free:
			case <-b.done:
				return n, b.err
			}
		}
		m := min(len(p)-n, cap(b.cur)-len(b.cur))
		b.cur = append(b.cur, p[n:n+m]...)
		n += m
		if len(b.cur) == cap(b.cur) {
			b.full <- b.cur // there is room for every buffer
			b.cur = nil
		}
	}
	return n, nil
}

// Close writes the rest and returns the first error of all writes. Idempotent.
func (b *Writer) Close() error {
	if b.full == nil {
		return b.err
	}
	if len(b.cur) > 0 {
		b.full <- b.cur
	}
	close(b.full)
	<-b.done
	b.full = nil
	return b.err
}
