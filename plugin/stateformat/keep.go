package stateformat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// databases are the files that a copy has: what is known of the layers and
// blobs, which themselves never change.
const databases = ".db"

// copyPrefix begins the names of copies.
const copyPrefix = "format-"

// keepDepth is how far below the state databases may be.
const keepDepth = 2

// keep copies the databases of a state of an older format to a folder in it,
// whole or not at all, and returns the folder; "" if there is nothing to copy.
// A copy of an earlier try is the one to have: nothing was opened since.
func keep(dir string, number int) (string, error) {
	to := filepath.Join(dir, copyPrefix+strconv.Itoa(number))
	if _, err := os.Lstat(to); err == nil {
		return to, nil
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(rel, copyPrefix) || strings.Count(rel, "/")+1 >= keepDepth):
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(rel, databases):
			files = append(files, rel)
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		return "", err
	}
	temp := to + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	for _, file := range files {
		if err := copyFile(filepath.Join(dir, file), filepath.Join(temp, file)); err != nil {
			return "", errors.Join(err, os.RemoveAll(temp))
		}
	}
	return to, os.Rename(temp, to)
}

// copyFile copies a file, with its permissions, durably.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Sync()
}
