package plugin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// sharedMemory is a tmpfs that every Linux has. Anybody can make names in it.
const sharedMemory = "/dev/shm"

// secretDir returns an empty directory in memory: in the state directory where
// that is a tmpfs, else below /dev/shm. What an earlier process on the same
// state left there, because it was killed, is removed: it may be secrets.
func secretDir(state string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(state, &st); err == nil && st.Type == unix.TMPFS_MAGIC {
		dir := filepath.Join(state, "secrets")
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("clear secrets: %w", err)
		}
		return dir, os.Mkdir(dir, 0o700)
	}
	// The name tells daemons apart; the random end keeps others from having
	// made it first.
	prefix := fmt.Sprintf("kiln-secrets-%x-", sha256.Sum256([]byte(state)))[:len("kiln-secrets-")+17]
	old, err := filepath.Glob(filepath.Join(sharedMemory, prefix+"*"))
	if err != nil {
		return "", fmt.Errorf("find secrets of an earlier process: %w", err)
	}
	var errs []error
	for _, dir := range old {
		if info, err := os.Lstat(dir); err == nil && ownDir(info) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", fmt.Errorf("clear secrets of an earlier process: %w", err)
	}
	return os.MkdirTemp(sharedMemory, prefix)
}

// ownDir says whether this user made the directory; links and other users'
// directories of that name are left alone.
func ownDir(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(st.Uid) == os.Geteuid()
}
