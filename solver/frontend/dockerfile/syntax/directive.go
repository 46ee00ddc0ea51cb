package syntax

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Names of the directives.
const (
	// DirectiveSyntax names the frontend image that is to read the file.
	DirectiveSyntax = "syntax"
	// DirectiveEscape sets the escape and continuation character.
	DirectiveEscape = "escape"
	// DirectiveCheck configures the lint rules.
	DirectiveCheck = "check"
)

// directiveForm is what a directive looks like behind its mark.
var directiveForm = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$`)

// Directive is one `# name = value` line.
type Directive struct {
	// Name is lower case.
	Name string
	// Value is trimmed.
	Value string
	// Line is where it stands.
	Line int
}

// directives recognises the leading block of directives line by line; the first
// line that is none ends it.
type directives struct {
	mark string
	seen map[string]bool
	done bool
}

// read returns the directive that line is, or nil. The line comes without its
// line break.
func (d *directives) read(line []byte, number int) (*Directive, error) {
	if d.done {
		return nil, nil
	}
	found, ok := parseDirective(line, d.mark)
	if !ok {
		d.done = true
		return nil, nil
	}
	if d.seen[found.Name] {
		return nil, fmt.Errorf("only one %s parser directive can be used", found.Name)
	}
	if d.seen == nil {
		d.seen = map[string]bool{}
	}
	d.seen[found.Name] = true
	found.Line = number
	return found, nil
}

// parseDirective reads one line. Names that are not known make it an ordinary
// comment, which ends the block.
func parseDirective(line []byte, mark string) (*Directive, bool) {
	line, ok := bytes.CutPrefix(line, []byte(mark))
	if !ok {
		return nil, false
	}
	parts := directiveForm.FindSubmatch(bytes.TrimLeftFunc(line, unicode.IsSpace))
	if parts == nil {
		return nil, false
	}
	name := strings.ToLower(string(parts[1]))
	switch name {
	case DirectiveSyntax, DirectiveEscape, DirectiveCheck:
		return &Directive{Name: name, Value: string(parts[2])}, true
	}
	return nil, false
}

// CommentDirective reads the text of an ordinary comment (without its mark) as
// a directive, as `check=…` above an instruction is.
func CommentDirective(comment string) (Directive, bool) {
	found, ok := parseDirective([]byte(comment), "")
	if !ok {
		return Directive{}, false
	}
	return *found, true
}

// FindDirective looks for one directive in the leading comments of a file. A
// shebang line before them is skipped.
func FindDirective(name string, data []byte) (Directive, bool) {
	body, skipped := withoutShebang(data)
	return findDirective(name, "#", body, skipped)
}

// DetectSyntax finds the syntax directive of a build file that need not be a
// Dockerfile: `# syntax=…`, `// syntax=…` and a JSON object with a "syntax"
// member are understood. The whole value is the frontend's command line, its
// first word the image.
func DetectSyntax(data []byte) (Directive, bool) {
	body, skipped := withoutShebang(data)
	for _, mark := range []string{"#", "//"} {
		if found, ok := findDirective(DirectiveSyntax, mark, body, skipped); ok {
			return found, true
		}
	}
	if trimmed := bytes.TrimLeftFunc(body, unicode.IsSpace); len(trimmed) == 0 || trimmed[0] != '{' || len(body) > MaxBytes {
		return Directive{}, false
	}
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return Directive{}, false
	}
	value, ok := object[DirectiveSyntax].(string)
	return Directive{Name: DirectiveSyntax, Value: value, Line: skipped + 1}, ok
}

// findDirective reads the block for one mark. Mistakes end the search: they are
// reported when the file is parsed.
func findDirective(name, mark string, body []byte, skipped int) (Directive, bool) {
	block := directives{mark: mark}
	for number := skipped + 1; len(body) > 0 && !block.done; number++ {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		if len(line) > MaxLine {
			break
		}
		found, err := block.read(bytes.TrimSuffix(line, []byte("\r")), number)
		if err != nil {
			break
		}
		if found != nil && found.Name == name {
			return *found, true
		}
	}
	return Directive{}, false
}

// withoutShebang drops a first line that makes the file executable, and tells
// how many lines were dropped.
func withoutShebang(data []byte) (body []byte, skipped int) {
	data = withoutMark(data)
	if bytes.HasPrefix(data, []byte("#!")) {
		_, rest, _ := bytes.Cut(data, []byte("\n"))
		return rest, 1
	}
	return data, 0
}

// withoutMark drops a UTF-8 byte order mark.
func withoutMark(data []byte) []byte {
	return bytes.TrimPrefix(data, []byte{0xEF, 0xBB, 0xBF})
}
