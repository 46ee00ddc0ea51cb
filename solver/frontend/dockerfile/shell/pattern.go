package shell

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxMatchWork bounds pattern length times value length: matching is linear in
// both, and a build file has no honest use for more.
const maxMatchWork = 64 << 20

// compile turns a glob of * ? and escapes into an expression that starts with
// anchor. greedy makes * take as much as it can.
func compile(pattern, anchor string, greedy bool) (*regexp.Regexp, error) {
	var out strings.Builder
	out.WriteString(anchor)
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; r {
		case '*':
			out.WriteString(".*")
			if !greedy {
				out.WriteByte('?')
			}
		case '?':
			out.WriteByte('.')
		case '\\':
			i++
			if i == len(runes) {
				return nil, fmt.Errorf("invalid pattern (%s) in substitution: invalid escape '\\%c'", pattern, end)
			}
			// A brace or slash is escaped for the substitution's own sake, the
			// others for the pattern's.
			if !strings.ContainsRune(`*?\}/`, runes[i]) {
				return nil, fmt.Errorf("invalid pattern (%s) in substitution: invalid escape '\\%c'", pattern, runes[i])
			}
			out.WriteString(regexp.QuoteMeta(string(runes[i])))
		default:
			out.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	re, err := regexp.Compile(out.String())
	if err != nil {
		return nil, fmt.Errorf("invalid pattern (%s) in substitution: %w", pattern, err)
	}
	return re, nil
}

// checkWork keeps matching from taking for ever.
func checkWork(value, pattern string) error {
	if len(value)*(len(pattern)+1) > maxMatchWork {
		return errors.New("pattern and value are too long to be matched")
	}
	return nil
}

// trimPrefix removes what the pattern matches at the start.
func trimPrefix(value, pattern string, greedy bool) (string, error) {
	if err := checkWork(value, pattern); err != nil {
		return "", err
	}
	re, err := compile(pattern, "^", greedy)
	if err != nil {
		return "", err
	}
	if match := re.FindStringIndex(value); match != nil {
		return value[match[1]:], nil
	}
	return value, nil
}

// trimSuffix works on reversed text, because expressions only search from the
// left.
func trimSuffix(value, pattern string, greedy bool) (string, error) {
	trimmed, err := trimPrefix(reversed(value), reversedPattern(pattern), greedy)
	if err != nil {
		return "", err
	}
	return reversed(trimmed), nil
}

// replaceMatches puts replacement in the place of the first or every match, the
// longest at its place. The replacement is taken as it is.
func replaceMatches(value, pattern, replacement string, every bool) (string, error) {
	if err := checkWork(value, pattern); err != nil {
		return "", err
	}
	re, err := compile(pattern, "", true)
	if err != nil {
		return "", err
	}
	matches := 1
	if every {
		matches = -1
	}
	found := re.FindAllStringIndex(value, matches)
	if len(found)*len(replacement) > MaxOutput {
		return "", errTooLong
	}
	var out strings.Builder
	last := 0
	for _, match := range found {
		out.WriteString(value[last:match[0]])
		out.WriteString(replacement)
		last = match[1]
	}
	out.WriteString(value[last:])
	return out.String(), nil
}

func reversed(s string) string {
	runes := []rune(s)
	slices.Reverse(runes)
	return string(runes)
}

// reversedPattern reverses a glob but keeps every escape before what it
// escapes.
func reversedPattern(pattern string) string {
	var units []string
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		if runes[i] == '\\' && i+1 < len(runes) {
			units = append(units, string(runes[i:i+2]))
			i++
			continue
		}
		units = append(units, string(runes[i]))
	}
	slices.Reverse(units)
	return strings.Join(units, "")
}
