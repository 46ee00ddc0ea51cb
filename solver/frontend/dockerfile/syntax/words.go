package syntax

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// blanks separate words; other Unicode spaces do not.
const blanks = "\t\v\f\r "

func isSpace(r rune) bool { return unicode.IsSpace(r) }

// cutBlank splits text at its first run of blanks.
func cutBlank(text string) (before, after string) {
	i := strings.IndexAny(text, blanks)
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimLeft(text[i:], blanks)
}

// firstBlank returns the first space of text, or "\n" (which no logical line
// holds) when there is none.
func firstBlank(text string) string {
	i := strings.IndexFunc(text, unicode.IsSpace)
	if i < 0 {
		return "\n"
	}
	_, size := utf8.DecodeRuneInString(text[i:])
	return text[i : i+size]
}

// splitBlanks splits text at runs of blanks.
func splitBlanks(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(blanks, r) })
}

// splitQuoted splits text at spaces outside of quotes. Quotes and escapes stay
// in the words; expansion removes them.
func splitQuoted(text string, escape rune) []string {
	var words []string
	var word strings.Builder
	var quote rune
	started := false
	finish := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		if quote == 0 && unicode.IsSpace(r) {
			finish()
			continue
		}
		if r == escape && quote != '\'' {
			if text == "" {
				break
			}
			word.WriteRune(r)
			r, size = utf8.DecodeRuneInString(text)
			text = text[size:]
			word.WriteRune(r)
			started = true
			continue
		}
		switch {
		case r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		}
		word.WriteRune(r)
		started = true
	}
	finish()
	return words
}

// cutFlags takes the leading words that start with two dashes off text, quotes
// and escapes removed; a bare `--` ends them and is dropped.
func cutFlags(text string, escape byte) (flags []string, rest string) {
	for {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		if !strings.HasPrefix(text, "--") {
			return flags, text
		}
		var word string
		word, text = cutFlag(text, escape)
		if word == "--" {
			return flags, text
		}
		flags = append(flags, word)
	}
}

// cutFlag reads one word up to an unquoted space.
func cutFlag(text string, escape byte) (word, rest string) {
	var out []byte
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == 0 && c < utf8.RuneSelf && unicode.IsSpace(rune(c)):
			return string(out), text[i:]
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == escape:
			if i++; i < len(text) {
				out = append(out, text[i])
			}
		default:
			out = append(out, c)
		}
	}
	return string(out), ""
}
