package file

import (
	"fmt"
	"strconv"
	"strings"
)

// maxModeText bounds a text of mode changes.
const maxModeText = 4 << 10

// modeChange is one operation of a text such as "u+rwX,go=r".
type modeChange struct {
	// who holds the bits that may change, set-id and sticky included.
	who uint32
	// op is one of + - =.
	op byte
	// bits of all three classes; who narrows them.
	bits uint32
	// search adds execution where somebody has it already and to directories.
	search bool
	// from copies the bits of one class: u, g, o, or 0.
	from byte
}

// modeSet is a parsed text: changes in order.
type modeSet []modeChange

// parseMode reads modes as chmod does: octal, or comma-separated changes.
func parseMode(text string) (modeSet, error) {
	if len(text) > maxModeText {
		return nil, fmt.Errorf("mode of %d bytes is too long", len(text))
	}
	if text != "" && text[0] >= '0' && text[0] <= '9' {
		n, err := strconv.ParseUint(text, 8, 32)
		if err != nil || n > permBits {
			return nil, fmt.Errorf("invalid mode %q: it is not an octal number up to 7777", text)
		}
		return modeSet{{who: permBits, op: '=', bits: uint32(n)}}, nil
	}
	var set modeSet
	for clause := range strings.SplitSeq(text, ",") {
		changes, err := parseClause(clause)
		if err != nil {
			return nil, fmt.Errorf("invalid mode %q: %w", text, err)
		}
		set = append(set, changes...)
	}
	return set, nil
}

// Bits of the classes.
const (
	setuid, setgid, sticky = 0o4000, 0o2000, 0o1000
	readAll                = 0o444
	writeAll               = 0o222
	searchAll              = 0o111
)

// parseClause reads who (op permissions)+.
func parseClause(clause string) (modeSet, error) {
	rest := strings.TrimLeft(clause, "ugoa")
	who, nobody := uint32(0), len(rest) == len(clause)
	for _, c := range clause[:len(clause)-len(rest)] {
		switch c {
		case 'u':
			who |= setuid | 0o700
		case 'g':
			who |= setgid | 0o070
		case 'o':
			who |= 0o007
		case 'a':
			who |= setuid | setgid | 0o777
		}
	}
	// Nobody named means everybody; there is no umask here.
	if nobody {
		who = setuid | setgid | 0o777
	}
	if rest == "" {
		return nil, fmt.Errorf("%q changes nothing", clause)
	}
	var set modeSet
	for rest != "" {
		if !strings.ContainsRune("+-=", rune(rest[0])) {
			return nil, fmt.Errorf("unexpected %q", rest)
		}
		c := modeChange{who: who, op: rest[0]}
		rest = rest[1:]
		for rest != "" && c.letter(rest[0]) {
			rest = rest[1:]
		}
		set = append(set, c)
	}
	return set, nil
}

// letter takes in a permission; false if it is none.
func (c *modeChange) letter(l byte) bool {
	switch l {
	case 'r':
		c.bits |= readAll
	case 'w':
		c.bits |= writeAll
	case 'x':
		c.bits |= searchAll
	case 'X':
		c.search = true
	case 's':
		c.bits |= setuid | setgid
	case 't':
		if c.who != 0o007 { // for others alone it means nothing
			c.bits |= sticky
			c.who |= sticky
		}
	case 'u', 'g', 'o':
		c.from = l
	default:
		return false
	}
	return true
}

// apply changes the permissions of a file.
func (s modeSet) apply(old uint32, dir bool) uint32 {
	mode := old & permBits
	for _, c := range s {
		// "X" looks at the mode before any change, copies at the mode so far.
		bits := c.bits
		if c.search && (dir || old&searchAll != 0 || c.op == '-') {
			bits |= searchAll
		}
		switch c.from {
		case 'u':
			bits |= mode >> 6 & 7 * searchAll
		case 'g':
			bits |= mode >> 3 & 7 * searchAll
		case 'o':
			bits |= mode & 7 * searchAll
		}
		switch c.op {
		case '+':
			mode |= bits & c.who
		case '-':
			mode &^= bits & c.who
		case '=':
			mode = mode&^c.who | bits&c.who
		}
	}
	return mode
}
