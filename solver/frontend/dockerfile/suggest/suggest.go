package suggest

import "strings"

// maxEdits is the greatest distance that is still taken for a slip of the
// finger.
const maxEdits = 2

// maxWord bounds the work for one comparison; longer words are never keywords
// or names that somebody mistyped.
const maxWord = 64

// maxOptions bounds how many options are compared.
const maxOptions = 500

// Nearest returns the option closest to word, or "" when none is within two
// edits or word is itself an option.
func Nearest(word string, options []string) string {
	best, distance := "", maxEdits+1
	for i, option := range options {
		if option == word {
			return ""
		}
		if i >= maxOptions {
			continue
		}
		if d := edits(word, option, distance); d < distance {
			best, distance = option, d
		}
	}
	return best
}

// NearestFold is Nearest without regard to case; the answer takes the case of
// word when that is uniform.
func NearestFold(word string, options []string) string {
	lower := make([]string, len(options))
	for i, option := range options {
		lower[i] = strings.ToLower(option)
	}
	folded := strings.ToLower(word)
	best := Nearest(folded, lower)
	if word != folded && word == strings.ToUpper(word) {
		return strings.ToUpper(best)
	}
	return best
}

// Error adds the proposal to err's text, as in `unknown flag: --lnk (did you
// mean link?)`; without one it is err itself.
func Error(err error, word string, options []string) error {
	return with(err, Nearest(word, options))
}

// ErrorFold is Error without regard to case.
func ErrorFold(err error, word string, options []string) error {
	return with(err, NearestFold(word, options))
}

func with(err error, match string) error {
	if err == nil || match == "" {
		return err
	}
	return &suggestion{err: err, match: match}
}

// suggestion keeps the original error reachable for errors.Is and errors.As.
type suggestion struct {
	err   error
	match string
}

func (s *suggestion) Error() string { return s.err.Error() + " (did you mean " + s.match + "?)" }

func (s *suggestion) Unwrap() error { return s.err }

// edits counts insertions, deletions and replacements between a and b, giving
// up with limit once it cannot be less.
func edits(a, b string, limit int) int {
	if len(a) > maxWord || len(b) > maxWord {
		return limit
	}
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) >= limit || len(y)-len(x) >= limit {
		return limit
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal, least := row[0], i+1
		row[0] = i + 1
		for j, q := range y {
			replace := diagonal
			if r != q {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
			least = min(least, row[j+1])
		}
		if least >= limit {
			return limit
		}
	}
	return row[len(y)]
}
