package differ

import "io"

// writeBehind writes a stream in a goroutine of its own, a few buffers behind
// its producer: the mirror of readAhead. The producer fills whole buffers, so
// it also joins small writes. The goroutine ends with close, which must be
// called.
type writeBehind struct {
	full chan []byte
	free chan []byte
	done chan struct{}
	cur  []byte
	err  error // set before done is closed
}

// startWriteBehind starts the goroutine.
func startWriteBehind(w io.Writer) *writeBehind {
	b := &writeBehind{
		full: make(chan []byte, aheadBuffers),
		free: make(chan []byte, aheadBuffers),
		done: make(chan struct{}),
	}
	for range aheadBuffers {
		b.free <- make([]byte, 0, aheadBuffer)
	}
	go b.run(w)
	return b
}

// run is the goroutine. After an error nobody gets a buffer any more.
func (b *writeBehind) run(w io.Writer) {
	defer close(b.done)
	for buf := range b.full {
		if _, b.err = w.Write(buf); b.err != nil {
			return
		}
		b.free <- buf[:0]
	}
}

// Write implements io.Writer. Its error is that of an earlier write.
func (b *writeBehind) Write(p []byte) (int, error) {
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

// close writes the rest and returns the first error of all writes. Idempotent.
func (b *writeBehind) close() error {
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
