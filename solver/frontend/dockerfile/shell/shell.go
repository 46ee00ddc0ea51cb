package shell

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxOutput is the greatest length in bytes of one expanded word. Environment
// strings beyond 128 KiB cannot be handed to a process anyway; the limit only
// exists to stop texts that double themselves.
const MaxOutput = 1 << 20

// maxDepth bounds how deep ${a:-${b:-…}} may nest.
const maxDepth = 200

// Env gives variables their values.
type Env interface {
	// Get returns the value of name and whether name is set at all.
	Get(name string) (string, bool)
	// Names lists what is set, in a stable order; it is what suggestions are
	// made of.
	Names() []string
}

// Expander holds the options of an expansion. The zero value treats backslash
// as escape and removes quotes.
type Expander struct {
	// Escape is the escape character; zero means backslash.
	Escape rune
	// KeepQuotes leaves the quote characters in the result.
	KeepQuotes bool
	// KeepEscapes leaves the escape characters in the result.
	KeepEscapes bool
	// PlainQuotes gives quotes no meaning at all, as in here-documents.
	PlainQuotes bool
	// KeepUnset leaves references to unset variables as they were written.
	KeepUnset bool
}

// Result is an expanded word.
type Result struct {
	// Text is the word as one string, blanks kept.
	Text string
	// Words is the same text split at unquoted blanks after expansion.
	Words []string
	// Used holds the variables that were looked up and found, Undefined those
	// that were not.
	Used, Undefined map[string]struct{}
}

// Expand processes word. Errors name the word: `failed to process "…": …`.
func (x Expander) Expand(word string, env Env) (Result, error) {
	if x.Escape == 0 {
		x.Escape = '\\'
	}
	if env == nil {
		env = List(nil)
	}
	run := &expansion{Expander: x, env: env, text: []rune(word)}
	out, err := run.until(end, x.KeepEscapes)
	if err != nil {
		return Result{Used: run.used, Undefined: run.undefined}, fmt.Errorf("failed to process %q: %w", excerpt(word), err)
	}
	return Result{Text: out.text.String(), Words: out.finish(), Used: run.used, Undefined: run.undefined}, nil
}

// excerpt keeps error texts readable when the word is huge.
func excerpt(word string) string {
	const limit = 1024
	if len(word) <= limit {
		return word
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(word[cut]) {
		cut--
	}
	return word[:cut] + "…"
}

// List is an Env made of K=V strings, later ones winning.
type List []string

// Get implements Env.
func (l List) Get(name string) (string, bool) {
	for _, entry := range slices.Backward(l) {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// Names implements Env.
func (l List) Names() []string {
	names := make([]string, 0, len(l))
	for _, entry := range l {
		key, _, _ := strings.Cut(entry, "=")
		names = append(names, key)
	}
	return names
}

// Map is an Env over a map; Names are sorted.
type Map map[string]string

// Get implements Env.
func (m Map) Get(name string) (string, bool) {
	value, ok := m[name]
	return value, ok
}

// Names implements Env.
func (m Map) Names() []string { return slices.Sorted(maps.Keys(m)) }
