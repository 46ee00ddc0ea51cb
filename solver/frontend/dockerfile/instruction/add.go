package instruction

import "github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"

// Add copies files, archives' contents, downloads and repositories into the
// image.
//
//	ADD [flags] <source>... <dest>
type Add struct {
	Meta
	Files
	// KeepGitDir keeps .git of a repository; nil: not said.
	KeepGitDir *bool
	// Checksum is the digest of a download or the commit of a repository.
	Checksum string
	// Unpack forces or forbids unpacking archives; nil: local ones are
	// unpacked.
	Unpack *bool
}

// addFlags are not those of COPY: a stage is no source of ADD, and parents are
// not kept.
var addFlags = map[string]flagKind{
	"chown": flagText, "chmod": flagText, "link": flagBool, "keep-git-dir": flagBool,
	"checksum": flagText, "unpack": flagBool, "exclude": flagList,
}

// parseAdd counts arguments before it looks at flags; users know the errors in
// that order.
func parseAdd(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) < 2 {
		return nil, errNoDestination("ADD")
	}
	given, err := parseFlags(raw, addFlags)
	if err != nil {
		return nil, err
	}
	files, err := parseFiles(raw, "ADD")
	if err != nil {
		return nil, err
	}
	files.Chown, files.Chmod = given.text("chown"), given.text("chmod")
	files.Link, files.Exclude = given.is("link"), given["exclude"]
	return &Add{
		Meta: meta(raw), Files: files, Checksum: given.text("checksum"),
		KeepGitDir: given.choice("keep-git-dir"), Unpack: given.choice("unpack"),
	}, nil
}

// Expand implements Expandable.
func (a *Add) Expand(x Expander) (Instruction, error) {
	out := *a
	var err error
	if out.Files, err = a.Files.expand(x, &out.Checksum); err != nil {
		return nil, err
	}
	return &out, nil
}
