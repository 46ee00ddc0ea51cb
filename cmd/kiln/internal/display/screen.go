package display

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// Escape sequences of every terminal people use.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearRight = "\x1b[K"
	clearBelow = "\x1b[J"
)

// screen replaces a block of rows at the cursor by the next one. The cursor
// rests below the block.
type screen struct {
	w     io.Writer
	rows  []string
	width int
}

// draw shows rows in place of those shown before. Each is at most as wide as
// the screen. Everything goes out in one write, rows that did not change are
// not touched, and none is cleared before it is written: nothing flickers.
func (s *screen) draw(rows []row, width int) error {
	next := make([]string, len(rows))
	for i, r := range rows {
		next[i] = paint(r.text, r.style)
	}
	var b bytes.Buffer
	b.WriteString(hideCursor)
	if s.width != 0 && width != s.width {
		// The terminal has broken the lines anew: start over where the block
		// begins now.
		s.up(&b, s.height(width))
		b.WriteString(clearBelow)
		s.rows = nil
	} else {
		s.up(&b, len(s.rows))
	}
	for i, text := range next {
		if i < len(s.rows) && s.rows[i] == text {
			b.WriteString("\n")
			continue
		}
		b.WriteString(text + clearRight + "\r\n")
	}
	if len(next) < len(s.rows) {
		b.WriteString(clearBelow)
	}
	b.WriteString(showCursor)
	same := slices.Equal(next, s.rows)
	s.rows, s.width = next, width
	if same {
		return nil
	}
	_, err := s.w.Write(b.Bytes())
	return err
}

// end draws rows that may be more than fit, and leaves them there.
func (s *screen) end(rows []row, width int) error {
	err := s.draw(rows, width)
	s.rows = nil
	return err
}

// up moves to the begin of a line above. Terminals stop at the top.
func (s *screen) up(b *bytes.Buffer, n int) {
	b.WriteByte('\r')
	if n > 0 {
		fmt.Fprintf(b, "\x1b[%dA", n)
	}
}

// height counts the lines that the shown rows take at another width.
func (s *screen) height(width int) int {
	n := 0
	for _, r := range s.rows {
		n += max(1, (columns(plainText(r))+width-1)/width)
	}
	return n
}
