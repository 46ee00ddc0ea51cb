package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Copy copies files from the context, a stage or an image.
//
//	COPY [flags] <source>... <dest>
type Copy struct {
	Meta
	Files
	// From names a stage, a stage's number, a context or an image; "" is the
	// build context. It is never expanded.
	From string
	// Parents keeps the sources' directories below the destination.
	Parents bool
}

var copyFlags = map[string]flagKind{
	"chown": flagText, "chmod": flagText, "link": flagBool, "from": flagText, "exclude": flagList, "parents": flagBool,
}

// parseCopy is like parseAdd but for its flags.
func parseCopy(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) < 2 {
		return nil, errNoDestination("COPY")
	}
	given, err := parseFlags(raw, copyFlags)
	if err != nil {
		return nil, err
	}
	files, err := parseFiles(raw, "COPY")
	if err != nil {
		return nil, err
	}
	files.Chown, files.Chmod = given.text("chown"), given.text("chmod")
	files.Link, files.Exclude = given.is("link"), given["exclude"]
	return &Copy{Meta: meta(raw), Files: files, From: given.text("from"), Parents: given.is("parents")}, nil
}

// Expand implements Expandable.
func (c *Copy) Expand(x Expander) (Instruction, error) {
	out := *c
	var err error
	if out.Files, err = c.Files.expand(x); err != nil {
		return nil, err
	}
	return &out, nil
}
