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

// Current is the format that this program reads and writes.
const Current = 1

// Name is the file with the number.
const Name = "format"

// maxFile bounds what is read of it.
const maxFile = 64

// Check returns nil if the state in dir, which exists, is of a format that this
// program knows, and notes the format in a directory that has no number. The
// error matches errdefs.ErrFailedPrecondition for state of a newer program.
func Check(dir string) error {
	path := filepath.Join(dir, Name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return note(path)
	}
	if err != nil {
		return fmt.Errorf("read format of state: %w", err)
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(text[:min(len(text), maxFile)])))
	switch {
	case err != nil && len(text) == 0:
		return note(path) // A crash came before the number did.
	case err != nil || number < 1:
		return fmt.Errorf("state in %s: file %s does not say a format: %w", dir, Name, errdefs.ErrFailedPrecondition)
	case number > Current:
		return fmt.Errorf("state in %s was written by a newer version (format %d, this one knows %d): upgrade, or choose another --root: %w",
			dir, number, Current, errdefs.ErrFailedPrecondition)
	}
	return nil
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
