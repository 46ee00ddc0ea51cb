package syntax

import (
	"errors"
	"fmt"
	"strings"
)

// Parse reads a whole file. Errors name no line in their text but carry it: see
// Places.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("dockerfile is larger than the max allowed size of %d bytes", MaxBytes)
	}
	p := &parser{lines: lines{rest: withoutMark(data)}, escape: '\\', directives: directives{mark: "#"}}
	for {
		found, err := p.instruction()
		if err != nil {
			return nil, err
		}
		if found == nil {
			break
		}
		if len(p.found) == MaxInstructions {
			return nil, At(fmt.Errorf("dockerfile has more than the max allowed number of %d instructions", MaxInstructions), found.Ranges())
		}
		p.found = append(p.found, found)
	}
	if len(p.found) == 0 {
		return nil, At(errors.New("file with no instructions"), Lines(p.number, p.number))
	}
	return &File{Instructions: p.found, Escape: rune(p.escape)}, nil
}

// parser is one pass over a file.
type parser struct {
	lines
	directives directives
	escape     byte
	comments   []string
	found      []*Instruction
}

// instruction reads up to the end of the next instruction, or returns nil at
// the end of the file.
func (p *parser) instruction() (*Instruction, error) {
	logical, err := p.logicalLine()
	if err != nil || logical == nil {
		return nil, err
	}
	last := p.number
	found, err := p.takeApart(logical.text.String())
	if err != nil {
		return nil, At(err, Lines(logical.first, last))
	}
	found.Comments, p.comments = p.comments, nil
	found.EmptyContinuation = logical.blank
	found.First, found.ContinuationEnd = logical.first, last
	if err := p.heredocs(found); err != nil {
		return nil, At(err, Lines(found.First, p.number))
	}
	found.Last = p.number
	return found, nil
}

// logical is a line under construction.
type logical struct {
	text  strings.Builder
	first int
	blank bool
}

// logicalLine skips comments, directives and blank lines and joins continued
// lines. It returns nil at the end.
func (p *parser) logicalLine() (*logical, error) {
	for {
		raw, ok, err := p.next()
		if err != nil || !ok {
			return nil, err
		}
		line := []byte(strings.TrimLeftFunc(string(trimBreak(raw)), isSpace))
		if err := p.comment(raw, line); err != nil {
			return nil, At(err, Lines(p.number, p.number))
		}
		if isComment(line) {
			continue
		}
		body, more := cutContinuation(line, p.escape)
		if !more && len(body) == 0 {
			continue
		}
		out := &logical{first: p.number}
		out.text.Write(body)
		return out, p.join(out, more)
	}
}

// join appends the lines that continue out.
func (p *parser) join(out *logical, more bool) error {
	for more {
		raw, ok, err := p.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if isComment(raw) {
			continue
		}
		if isBlank(raw) {
			out.blank = true
			continue
		}
		var body []byte
		body, more = cutContinuation(trimBreak(raw), p.escape)
		out.text.Write(body)
		if out.text.Len() > MaxLogicalLine {
			err := fmt.Errorf("dockerfile instruction greater than max allowed size of %d", MaxLogicalLine)
			return At(err, Lines(out.first, p.number))
		}
	}
	return nil
}

// comment handles what a line outside of instructions may say: a directive, or
// a comment to remember.
func (p *parser) comment(raw, line []byte) error {
	directive, err := p.directives.read(line, p.number)
	if err != nil {
		return err
	}
	if directive != nil {
		if directive.Name == DirectiveEscape {
			return p.setEscape(directive.Value)
		}
		return nil
	}
	if !isComment(line) {
		return nil
	}
	// The mark is taken to be the line's very first byte: an indented comment
	// keeps it and so describes nothing.
	if text := strings.TrimSpace(string(raw[1:])); text != "" {
		p.comments = append(p.comments, text)
	} else {
		p.comments = nil
	}
	return nil
}

// setEscape changes the escape character for the rest of the file.
func (p *parser) setEscape(value string) error {
	if value != `\` && value != "`" {
		return fmt.Errorf("invalid escape token '%s' does not match ` or \\", value)
	}
	p.escape = value[0]
	return nil
}
