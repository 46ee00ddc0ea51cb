package differ

import "io"

const (
	aheadBuffer  = 256 << 10
	aheadBuffers = 4
)

// readAhead reads a stream in a goroutine of its own, a few buffers ahead of its
// consumer. The goroutine ends with the stream or with stop, whichever is
// first, and stop waits for it, so the source may be closed afterwards.
type readAhead struct {
	full chan chunk
	free chan []byte
	quit chan struct{}
	done chan struct{}
	cur  []byte
	buf  []byte // what cur is part of
	err  error
}

// chunk is what one read gave.
type chunk struct {
	buf []byte
	n   int
	err error
}

// startReadAhead starts the goroutine. see is called there for every piece; its
// effects are visible to the consumer once Read returned io.EOF.
func startReadAhead(r io.Reader, see func([]byte)) *readAhead {
	a := &readAhead{
		full: make(chan chunk, aheadBuffers),
		free: make(chan []byte, aheadBuffers),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	for range aheadBuffers {
		a.free <- make([]byte, aheadBuffer)
	}
	go a.run(r, see)
	return a
}

// run is the goroutine.
func (a *readAhead) run(r io.Reader, see func([]byte)) {
	defer close(a.done)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.quit:
			return
		}
		n, err := fill(r, buf)
		see(buf[:n])
		select {
		case a.full <- chunk{buf, n, err}:
		case <-a.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

// fill reads until buf is full or the source ends; unlike io.ReadFull it hands
// on the source's own error.
func fill(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Read implements io.Reader.
func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.cur) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.buf != nil {
			a.free <- a.buf
			a.buf = nil
		}
		c := <-a.full
		a.buf, a.cur, a.err = c.buf, c.buf[:c.n], c.err
	}
	n := copy(p, a.cur)
	a.cur = a.cur[n:]
	return n, nil
}

// stop ends the goroutine and waits for it. Idempotent.
func (a *readAhead) stop() {
	select {
	case <-a.done:
		return
	default:
	}
	close(a.quit)
	<-a.done
}
