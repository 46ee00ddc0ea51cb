package instruction

import (
	"fmt"
	"slices"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Files says what ADD and COPY take and where they put it.
type Files struct {
	// Sources are paths or URLs.
	Sources []string
	// Inline are here-documents; they come after Sources.
	Inline []InlineFile
	// Dest is the destination as written.
	Dest string
	// Chown and Chmod are the flags' values, "" for none.
	Chown, Chmod string
	// Link asks for a layer of its own.
	Link bool
	// Exclude are patterns of files to leave out.
	Exclude []string
}

// InlineFile is a file given as a here-document.
type InlineFile struct {
	Name, Content string
	// Expand tells that variables in Content are to be replaced.
	Expand bool
}

// parseFiles tells here-documents from paths. The last argument is the
// destination and can be no here-document. A mark whose text is missing gives
// an empty file.
func parseFiles(raw *syntax.Instruction, keyword string) (Files, error) {
	last := len(raw.Args) - 1
	files := Files{Dest: raw.Args[last]}
	if _, ok := syntax.ParseHeredoc(files.Dest); ok {
		return files, fmt.Errorf("%s cannot accept a heredoc as a destination", keyword)
	}
	texts := map[string]string{}
	for _, doc := range raw.Heredocs {
		texts[doc.Name] = doc.Text()
	}
	for _, source := range raw.Args[:last] {
		if mark, ok := syntax.ParseHeredoc(source); ok {
			files.Inline = append(files.Inline, InlineFile{Name: mark.Name, Content: texts[mark.Name], Expand: mark.Expand})
			continue
		}
		files.Sources = append(files.Sources, source)
	}
	return files, nil
}

func errNoDestination(keyword string) error {
	return fmt.Errorf("%s requires at least two arguments, but only one was provided. Destination could not be determined", keyword)
}

// expand replaces variables in a copy's fields; more are extra fields to expand
// after owner and mode.
func (f Files) expand(x Expander, more ...*string) (Files, error) {
	if err := expandInto(x, append([]*string{&f.Chown, &f.Chmod}, more...)...); err != nil {
		return f, err
	}
	var err error
	if f.Sources, err = expandAll(f.Sources, x); err != nil {
		return f, err
	}
	if err := expandInto(x, &f.Dest); err != nil {
		return f, err
	}
	f.Inline = slices.Clone(f.Inline)
	for i := range f.Inline {
		if !f.Inline[i].Expand {
			continue
		}
		if f.Inline[i].Content, err = x.Document(f.Inline[i].Content); err != nil {
			return f, err
		}
	}
	return f, nil
}
