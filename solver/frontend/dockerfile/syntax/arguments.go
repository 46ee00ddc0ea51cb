package syntax

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// form says how the text after a keyword and its flags becomes arguments.
type form int

// Forms of arguments.
const (
	formNone    form = iota // unknown keyword: nothing is read
	formText                // the text is one argument
	formWords               // words between blanks
	formCommand             // a JSON array, or the text as one argument
	formList                // a JSON array, or words between blanks
	formNames               // words that may be quoted
	formPairs               // assignments
	formHealth              // a type, then like formCommand
	formTrigger             // an instruction
)

// forms maps keywords, in lower case, to how they are read.
var forms = map[string]form{
	"add": formList, "arg": formNames, "cmd": formCommand, "copy": formList, "entrypoint": formCommand,
	"env": formPairs, "expose": formWords, "from": formWords, "healthcheck": formHealth, "label": formPairs,
	"maintainer": formText, "onbuild": formTrigger, "run": formCommand, "shell": formCommand,
	"stopsignal": formText, "user": formText, "volume": formList, "workdir": formText,
}

var errNotStrings = errors.New("when using JSON array syntax, arrays must be comprised of strings only")

// Keywords lists the known keywords in upper case, in no particular order.
func Keywords() []string {
	names := make([]string, 0, len(forms))
	for name := range forms {
		names = append(names, strings.ToUpper(name))
	}
	return names
}

// maxTriggers bounds how deep ONBUILD may be nested; more than one level is
// refused later anyway.
const maxTriggers = 4

// takeApart splits a logical line into keyword, flags and arguments.
func (p *parser) takeApart(line string) (*Instruction, error) { return p.takeApartAt(line, 0) }

// takeApartAt knows how many ONBUILDs it is inside of.
func (p *parser) takeApartAt(line string, depth int) (*Instruction, error) {
	found := &Instruction{Source: line}
	var rest string
	found.Keyword, rest = cutBlank(strings.TrimSpace(line))
	found.Flags, rest = cutFlags(rest, p.escape)
	rest = strings.TrimSpace(rest)
	if err := p.arguments(found, rest, depth); err != nil {
		return nil, err
	}
	return found, nil
}

// arguments reads what follows the flags. Only what cannot be split is an error
// here; what is split wrongly is for package instruction to say.
func (p *parser) arguments(found *Instruction, rest string, depth int) (err error) {
	switch forms[strings.ToLower(found.Keyword)] {
	case formText:
		found.Args = oneOrNone(rest)
	case formWords:
		found.Args = splitBlanks(rest)
	case formCommand:
		found.Args, found.JSON, err = command(rest)
	case formList:
		if found.Args, found.JSON, err = jsonArray(rest); !found.JSON {
			found.Args = splitBlanks(rest)
		}
	case formNames:
		found.Args = splitQuoted(rest, rune(p.escape))
	case formPairs:
		found.Pairs, err = pairs(rest, strings.ToUpper(found.Keyword), rune(p.escape))
	case formHealth:
		kind, after, _ := strings.Cut(rest, firstBlank(rest))
		if kind != "" {
			found.Args, found.JSON, err = command(strings.TrimLeftFunc(after, unicode.IsSpace))
			found.Args = append([]string{kind}, found.Args...)
		}
	case formTrigger:
		err = p.trigger(found, rest, depth)
	}
	return err
}

// trigger reads ONBUILD's instruction; its keyword and arguments become
// ONBUILD's arguments.
func (p *parser) trigger(found *Instruction, rest string, depth int) error {
	if rest == "" || depth == maxTriggers {
		return nil
	}
	inner, err := p.takeApartAt(rest, depth+1)
	if err != nil {
		return err
	}
	found.Args = append([]string{inner.Keyword}, inner.Args...)
	found.JSON = inner.JSON
	return nil
}

// oneOrNone is the text as the only argument, or no argument.
func oneOrNone(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// command reads a JSON array, or text for a shell. Broken JSON is text: shells
// know commands that begin with a bracket.
func command(text string) ([]string, bool, error) {
	args, isJSON, err := jsonArray(text)
	if err != nil || isJSON {
		return args, isJSON, err
	}
	return oneOrNone(text), false, nil
}

// jsonArray reads an array of strings. Text that is no array at all is no
// error, an array of anything else is.
func jsonArray(text string) (args []string, ok bool, err error) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if !strings.HasPrefix(text, "[") {
		return nil, false, nil
	}
	var elements []any
	if json.Unmarshal([]byte(text), &elements) != nil {
		return nil, false, nil
	}
	for _, element := range elements {
		s, isString := element.(string)
		if !isString {
			return nil, false, errNotStrings
		}
		args = append(args, s)
	}
	return args, true, nil
}

// pairs reads assignments. The first word decides: without an equals sign the
// line is the old form `NAME any text`.
func pairs(text, keyword string, escape rune) ([]Pair, error) {
	words := splitQuoted(text, escape)
	if len(words) == 0 {
		return nil, nil
	}
	if !strings.Contains(words[0], "=") {
		if !strings.ContainsAny(text, blanks) {
			return nil, fmt.Errorf("%s must have two arguments", keyword)
		}
		name, value := cutBlank(text)
		return []Pair{{Name: name, Value: value, Legacy: true}}, nil
	}
	found := make([]Pair, 0, len(words))
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("Syntax error - can't find = in %q. Must be of the form: name=value", word) //nolint:staticcheck // the text clients know
		}
		found = append(found, Pair{Name: name, Value: value})
	}
	return found, nil
}
