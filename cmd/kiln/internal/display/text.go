package display

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// plainText reduces a line to what a terminal would show of it: escape
// sequences are left out, a carriage return starts the line over, tabs become
// spaces. What a build prints must not move the cursor of our display.
func plainText(text string) string {
	if i := strings.LastIndexByte(strings.TrimRight(text, "\r"), '\r'); i >= 0 {
		text = text[i+1:]
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] == 0x1b {
			i += escapeLen(text[i:])
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r) || r == utf8.RuneError && n == 1:
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escapeLen returns the length of the escape sequence that text begins with.
func escapeLen(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[': // until a final byte
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
		}
		return len(text)
	case ']', 'P', '^', '_': // until BEL or ESC \
		for i := 2; i < len(text); i++ {
			if text[i] == 0x07 {
				return i + 1
			}
			if text[i] == 0x1b {
				return min(i+2, len(text))
			}
		}
		return len(text)
	}
	return 2
}

// columns counts the columns of a text on a terminal.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is 2 for the wide characters of East Asia and for emoji, 0 for
// marks that go onto the character before.
func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x1100:
		return 1
	case r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// cut shortens a text to a number of columns.
func cut(text string, width int) string {
	n := 0
	for i, r := range text {
		n += runeColumns(r)
		if n > width {
			return text[:i]
		}
	}
	return text
}
