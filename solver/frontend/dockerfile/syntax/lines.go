package syntax

import (
	"bytes"
	"fmt"
	"unicode"
)

// Limits on what Parse accepts.
const (
	// MaxLine is the greatest length of a physical line in bytes, its line
	// break not counted.
	MaxLine = 65535
	// MaxBytes is the greatest size of a file.
	MaxBytes = 4 << 20
	// MaxLogicalLine is the greatest length of a logical line.
	MaxLogicalLine = 1 << 20
	// MaxInstructions is the greatest number of instructions in a file.
	MaxInstructions = 10000
)

// lines hands out physical lines, line breaks included, and counts them.
type lines struct {
	rest   []byte
	number int
}

// next returns the next line; ok is false at the end of the file.
func (l *lines) next() (line []byte, ok bool, err error) {
	if len(l.rest) == 0 {
		return nil, false, nil
	}
	size := bytes.IndexByte(l.rest, '\n') + 1
	if size == 0 {
		size = len(l.rest)
	}
	line, l.rest = l.rest[:size], l.rest[size:]
	l.number++
	if len(trimBreak(line)) > MaxLine {
		return nil, false, At(fmt.Errorf("dockerfile line greater than max allowed size of %d", MaxLine), Lines(l.number, l.number))
	}
	return line, true, nil
}

func trimBreak(line []byte) []byte { return bytes.TrimRight(line, "\r\n") }

func isComment(line []byte) bool {
	line = bytes.TrimLeftFunc(line, unicode.IsSpace)
	return len(line) > 0 && line[0] == '#'
}

func isBlank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }

// cutContinuation removes a continuation character, blanks after it included,
// and tells whether there was one. Doubled, the character stands for itself.
func cutContinuation(line []byte, escape byte) ([]byte, bool) {
	body := bytes.TrimRight(line, " \t")
	n := len(body)
	if n == 0 || body[n-1] != escape || (n > 1 && body[n-2] == escape) {
		return line, false
	}
	return body[:n-1], true
}
