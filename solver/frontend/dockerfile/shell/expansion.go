package shell

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// end stands for the end of the text among runes.
const end rune = -1

// Failures that end an expansion wherever they happen.
var (
	errTooLong = fmt.Errorf("expansion is longer than %d bytes", MaxOutput)
	errTooDeep = fmt.Errorf("substitutions are nested more than %d deep", maxDepth)
	errBrace   = errors.New("syntax error: missing '}'")
)

// expansion is one run over a word: a cursor, the variables seen, and how deep
// the cursor is inside braces.
type expansion struct {
	Expander
	env             Env
	text            []rune
	at              int
	depth           int
	used, undefined map[string]struct{}
}

func (e *expansion) peek() rune {
	if e.at >= len(e.text) {
		return end
	}
	return e.text[e.at]
}

func (e *expansion) next() rune {
	r := e.peek()
	if r != end {
		e.at++
	}
	return r
}

// lookup asks the environment and notes the answer for the caller's warnings.
func (e *expansion) lookup(name string) (string, bool) {
	value, ok := e.env.Get(name)
	seen := &e.undefined
	if ok {
		seen = &e.used
	}
	if *seen == nil {
		*seen = map[string]struct{}{}
	}
	(*seen)[name] = struct{}{}
	return value, ok
}

// until expands up to stop, which is consumed, or to the end of the text when
// stop is end. raw keeps escapes, as patterns need them.
func (e *expansion) until(stop rune, raw bool) (*output, error) {
	if e.depth++; e.depth > maxDepth {
		return nil, errTooDeep
	}
	defer func() { e.depth-- }()
	out := &output{}
	for e.peek() != end {
		if stop != end && e.peek() == stop {
			e.next()
			return out, nil
		}
		if err := e.step(out, raw); err != nil {
			return nil, err
		}
		if out.text.Len() > MaxOutput {
			return nil, errTooLong
		}
	}
	if stop != end {
		return nil, fmt.Errorf("unexpected end of statement while looking for matching %c", stop)
	}
	return out, nil
}

// step expands one unit: a reference, a quoted part, a here-document mark, an
// escaped or a plain character.
func (e *expansion) step(out *output, raw bool) error {
	switch r := e.peek(); {
	case r == '$':
		value, err := e.reference()
		if err != nil {
			return err
		}
		out.split(value)
	case r == '<':
		out.whole(e.angle())
	case r == '\'' && !e.PlainQuotes:
		quoted, err := e.singleQuoted()
		if err != nil {
			return err
		}
		out.whole(quoted)
	case r == '"' && !e.PlainQuotes:
		quoted, err := e.doubleQuoted(raw)
		if err != nil {
			return err
		}
		out.whole(quoted)
	case r == e.Escape:
		e.next()
		if raw {
			out.whole(string(e.Escape))
		}
		if escaped := e.next(); escaped != end {
			out.whole(string(escaped))
		}
	default:
		out.split(string(e.next()))
	}
	return nil
}

// angle keeps the blanks between << and its word together with it, so that
// splitting sees one word.
func (e *expansion) angle() string {
	e.next()
	if e.peek() != '<' {
		return "<"
	}
	e.next()
	start := e.at
	for r := e.peek(); r == ' ' || r == '\t' || r == '\r'; r = e.peek() {
		e.next()
	}
	return "<<" + string(e.text[start:e.at])
}

// singleQuoted takes everything up to the next single quote; not even the
// escape means anything.
func (e *expansion) singleQuoted() (string, error) {
	start := e.at
	e.next()
	for {
		switch e.next() {
		case end:
			return "", errors.New("unexpected end of statement while looking for matching single-quote")
		case '\'':
			if e.KeepQuotes {
				return string(e.text[start:e.at]), nil
			}
			return string(e.text[start+1 : e.at-1]), nil
		}
	}
}

// doubleQuoted expands references; the escape only acts before a quote, a
// dollar sign and itself.
func (e *expansion) doubleQuoted(raw bool) (string, error) {
	var out strings.Builder
	e.next()
	if e.KeepQuotes {
		out.WriteByte('"')
	}
	for {
		switch r := e.peek(); r {
		case end:
			return "", errors.New("unexpected end of statement while looking for matching double-quote")
		case '"':
			e.next()
			if e.KeepQuotes {
				out.WriteByte('"')
			}
			return out.String(), nil
		case '$':
			value, err := e.reference()
			if err != nil {
				return "", err
			}
			out.WriteString(value)
		case e.Escape:
			e.next()
			following := e.peek()
			if raw {
				out.WriteRune(r)
			}
			switch following {
			case '"', '$', e.Escape:
				out.WriteRune(e.next())
			case end:
			default:
				out.WriteRune(r)
			}
		default:
			out.WriteRune(e.next())
		}
		if out.Len() > MaxOutput {
			return "", errTooLong
		}
	}
}

// output gathers an expansion as one text and as words at the same time.
type output struct {
	text  strings.Builder
	word  strings.Builder
	words []string
}

// split adds s, letting blanks in it end words.
func (o *output) split(s string) {
	o.text.WriteString(s)
	for _, r := range s {
		if !unicode.IsSpace(r) {
			o.word.WriteRune(r)
			continue
		}
		o.endWord()
	}
}

// whole adds s to the current word whatever it holds.
func (o *output) whole(s string) {
	o.text.WriteString(s)
	o.word.WriteString(s)
}

func (o *output) endWord() {
	if o.word.Len() > 0 {
		o.words = append(o.words, o.word.String())
		o.word.Reset()
	}
}

func (o *output) finish() []string {
	o.endWord()
	return o.words
}
