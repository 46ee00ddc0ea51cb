package display

// Bounds of what is remembered of a step's output for the case that it fails.
const (
	tailLines = 500
	tailBytes = 256 << 10
)

// tail remembers the last lines of a step.
type tail struct {
	lines []line
	size  int
}

// add remembers a line and forgets the oldest beyond the bounds.
func (t *tail) add(l line) {
	t.lines = append(t.lines, l)
	t.size += len(l.text)
	drop := 0
	for len(t.lines)-drop > tailLines || t.size > tailBytes && drop < len(t.lines)-1 {
		t.size -= len(t.lines[drop].text)
		drop++
	}
	// Copying now and then is cheaper than doing it for each line.
	if drop > 0 {
		t.lines = append(t.lines[:0:0], t.lines[drop:]...)
	}
}

// last returns up to n lines, oldest first.
func (t *tail) last(n int) []line {
	return t.lines[max(0, len(t.lines)-n):]
}
