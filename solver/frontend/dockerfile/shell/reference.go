package shell

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// reference expands what starts with a dollar sign at the cursor.
func (e *expansion) reference() (string, error) {
	e.next()
	if e.peek() != '{' {
		name := e.name()
		if name == "" {
			return "$", nil
		}
		value, set := e.lookup(name)
		if !set && e.KeepUnset {
			return "$" + name, nil
		}
		return value, nil
	}
	e.next()
	switch e.peek() {
	case end:
		return "", errBrace
	case '{', '}', ':':
		return "", errors.New("syntax error: bad substitution")
	}
	return e.braced(e.name())
}

// braced handles what follows the name inside braces.
func (e *expansion) braced(name string) (string, error) {
	switch modifier := e.next(); modifier {
	case '}':
		value, set := e.lookup(name)
		if !set && e.KeepUnset {
			return "${" + name + "}", nil
		}
		return value, nil
	case '/':
		return e.replace(name)
	case ':':
		kind := e.next()
		if kind == '#' || kind == '%' {
			return "", unsupported(":" + string(kind))
		}
		return e.conditional(name, ":"+string(kind), kind, true)
	case '+', '-', '?':
		return e.conditional(name, string(modifier), modifier, false)
	case '#', '%':
		return e.trim(name, modifier)
	default:
		return "", unsupported(string(modifier))
	}
}

func unsupported(modifier string) error {
	return fmt.Errorf("unsupported modifier (%s) in substitution", modifier)
}

// operand expands the text after a modifier up to stop. Whatever goes wrong at
// the very end of the text is a missing terminator, described by missing.
func (e *expansion) operand(stop rune, raw bool, missing error) (string, error) {
	out, err := e.until(stop, raw)
	if err == nil {
		return out.text.String(), nil
	}
	if e.peek() == end && !errors.Is(err, errTooLong) && !errors.Is(err, errTooDeep) {
		return "", missing
	}
	return "", err
}

// conditional covers - + and ?, with emptyIsUnset for their forms with a colon.
func (e *expansion) conditional(name, modifier string, kind rune, emptyIsUnset bool) (string, error) {
	word, err := e.operand('}', false, errBrace)
	if err != nil {
		return "", err
	}
	value, set := e.lookup(name)
	if !set && e.KeepUnset {
		return "${" + name + modifier + word + "}", nil
	}
	missing := !set || (emptyIsUnset && value == "")
	switch kind {
	case '-':
		if missing {
			return word, nil
		}
		return value, nil
	case '+':
		if missing {
			return "", nil
		}
		return word, nil
	case '?':
		if !missing {
			return value, nil
		}
		switch {
		case word != "":
		case set:
			word = "is not allowed to be empty"
		default:
			word = "is not allowed to be unset"
		}
		return "", fmt.Errorf("%s: %s", name, word)
	}
	return "", unsupported(modifier)
}

// trim covers # ## % and %%.
func (e *expansion) trim(name string, kind rune) (string, error) {
	word, err := e.operand('}', true, errBrace)
	if err != nil {
		return "", err
	}
	value, set := e.lookup(name)
	if !set && e.KeepUnset {
		return "${" + name + string(kind) + word + "}", nil
	}
	word, greedy := strings.CutPrefix(word, string(kind))
	if kind == '#' {
		return trimPrefix(value, word, greedy)
	}
	return trimSuffix(value, word, greedy)
}

// replace covers / and //.
func (e *expansion) replace(name string) (string, error) {
	every := e.peek() == '/'
	if every {
		e.next()
	}
	word, err := e.operand('/', true, errors.New("syntax error: missing '/' in ${}"))
	if err != nil {
		return "", err
	}
	replacement, err := e.operand('}', true, errBrace)
	if err != nil {
		return "", err
	}
	value, set := e.lookup(name)
	if !set && e.KeepUnset {
		return fmt.Sprintf("${%s/%s/%s}", name, word, replacement), nil
	}
	return replaceMatches(value, word, replacement, every)
}

// name reads a variable's name: letters, digits and underscores, or digits
// alone, or one special character.
func (e *expansion) name() string {
	start := e.at
	first := e.peek()
	switch {
	case first == end:
		return ""
	case unicode.IsDigit(first):
		for unicode.IsDigit(e.peek()) {
			e.next()
		}
	case strings.ContainsRune("@*#?-$!", first):
		e.next()
	default:
		for r := e.peek(); r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r); r = e.peek() {
			e.next()
		}
	}
	return string(e.text[start:e.at])
}
