package syntax

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
)

// A mark is an optional descriptor, two angle brackets, an optional dash, and
// the rest of the word.
var (
	heredocMark = regexp.MustCompile(`^(\d*)<<(-?)\s*([^<]*)$`)
	leadingTabs = regexp.MustCompile(`(?m)^\t+`)
)

// maxHeredocs bounds the here-documents of one instruction.
const maxHeredocs = 1000

// takesHeredocs tells whether an instruction may have here-documents. JSON
// arguments never have any.
func takesHeredocs(i *Instruction) bool {
	keyword := strings.ToLower(i.Keyword)
	if keyword == "onbuild" && len(i.Args) > 0 {
		keyword = strings.ToLower(i.Args[0])
	}
	return !i.JSON && (keyword == "add" || keyword == "copy" || keyword == "run")
}

// heredocs reads the texts that the marks on the instruction's line announce.
func (p *parser) heredocs(found *Instruction) error {
	if !takesHeredocs(found) || !strings.Contains(found.Source, "<<") {
		return nil
	}
	marks, err := heredocMarks(found.Source)
	if err != nil {
		return err
	}
	if len(marks) > maxHeredocs {
		return errors.New("too many heredocs in one instruction")
	}
	for _, mark := range marks {
		if mark.Content, err = p.heredocText(mark); err != nil {
			return err
		}
		found.Heredocs = append(found.Heredocs, mark)
	}
	return nil
}

// heredocText reads up to the line that is the mark's word. Line breaks stay as
// they are, carriage returns included.
func (p *parser) heredocText(mark Heredoc) (string, error) {
	var text strings.Builder
	for {
		line, ok, err := p.next()
		if err != nil {
			return "", err
		}
		if !ok {
			return "", errors.New("unterminated heredoc")
		}
		candidate := string(trimBreak(line))
		if mark.Chomp {
			candidate = strings.TrimLeft(candidate, "\t")
		}
		if candidate == mark.Name {
			return text.String(), nil
		}
		text.Write(line)
	}
}

// heredocMarks finds the marks on a line. A line that cannot be split has none:
// the shell that runs it may know better.
func heredocMarks(line string) ([]Heredoc, error) {
	split, err := shell.Expander{KeepQuotes: true, KeepEscapes: true, KeepUnset: true}.Expand(line, nil)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	var marks []Heredoc
	for _, word := range split.Words {
		mark, ok, err := readMark(word)
		if err != nil {
			return nil, err
		}
		if ok {
			marks = append(marks, mark)
		}
	}
	return marks, nil
}

// ParseHeredoc reads a word such as <<EOF or 3<<-"EOF" as the mark of a
// here-document.
func ParseHeredoc(word string) (Heredoc, bool) {
	mark, ok, err := readMark(word)
	return mark, ok && err == nil
}

// readMark reads a word that was split off with quotes and escapes in place.
func readMark(word string) (Heredoc, bool, error) {
	parts := heredocMark.FindStringSubmatch(word)
	if parts == nil || parts[3] == "" {
		return Heredoc{}, false, nil
	}
	plain, err := shell.Expander{KeepUnset: true}.Expand(parts[3], nil)
	if err != nil {
		return Heredoc{}, false, err
	}
	if len(plain.Words) != 1 {
		return Heredoc{}, false, nil
	}
	// Any quote that expansion removes means that the text is to be taken
	// literally.
	quoted, err := shell.Expander{KeepUnset: true, KeepQuotes: true}.Expand(parts[3], nil)
	if err != nil || len(quoted.Words) != 1 {
		return Heredoc{}, false, err
	}
	descriptor, _ := strconv.ParseUint(parts[1], 10, 32)
	return Heredoc{
		Name:       plain.Words[0],
		Descriptor: uint(descriptor),
		Expand:     quotes(plain.Words[0]) == quotes(quoted.Words[0]),
		Chomp:      parts[2] == "-",
	}, true, nil
}

func quotes(s string) int { return strings.Count(s, "'") + strings.Count(s, `"`) }
