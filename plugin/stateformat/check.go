package stateformat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Current is the format that this program reads and writes:
//
//	1  the build cache is in cache.db
//	2  the build cache is in kiln-cache.db; an older program would begin with an empty one
const Current = 2

// Name is the file with the number.
const Name = "format"

// maxFile bounds what is read of it.
const maxFile = 64

// Check returns nil if the state in dir, which exists, is of a format that this
// program knows, and notes the format in a directory that has no number. Of
// state of an older format it first keeps a copy, which kept names. The error
// matches errdefs.ErrFailedPrecondition for state of a newer program.
func Check(dir string) (kept string, err error) {
	path := filepath.Join(dir, Name)
	text, err := os.ReadFile(path)
	number := 0
	if err == nil && len(text) > 0 { // A crash may have come before the number did.
		number, err = parse(dir, string(text[:min(len(text), maxFile)]))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read format of state: %w", err)
	}
	switch number {
	case 0:
		return "", note(path)
	case Current:
		return "", nil
	}
	if kept, err = keep(dir, number); err != nil {
		return "", fmt.Errorf("keep a copy of the state of format %d in %s (it may be put elsewhere, or --root chosen there): %w", number, dir, err)
	}
	return kept, note(path)
}

// parse reads the number in a file.
func parse(dir, text string) (int, error) {
	number, err := strconv.Atoi(strings.TrimSpace(text))
	switch {
	case err != nil || number < 1:
		return 0, fmt.Errorf("state in %s: file %s does not say a format: %w", dir, Name, errdefs.ErrFailedPrecondition)
	case number > Current:
		return 0, fmt.Errorf("state in %s was written by a newer version (format %d, this one knows %d): upgrade, or choose another --root: %w",
			dir, number, Current, errdefs.ErrFailedPrecondition)
	}
	return number, nil
}

// note writes the number, whole or not at all.
func note(path string) error {
	temp := path + ".new"
	err := os.WriteFile(temp, []byte(strconv.Itoa(Current)+"\n"), 0o600)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("note format of state: %w", err)
	}
	return nil
}
