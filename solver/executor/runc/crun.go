package runc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// crunWrapper hides the unified hierarchy from crun, which refuses to run where
// it sees cgroups of both versions. The mount namespace is crun's own.
const crunWrapper = `#!/bin/sh
exec unshare --mount --propagation slave sh -c 'umount /sys/fs/cgroup/unified && exec "$0" "$@"' %s "$@"
`

// wrapperName is the wrapper's file in the executor's directory.
const wrapperName = "crun-wrapper"

// wrapCrun writes the wrapper and returns its path.
func wrapCrun(root, crun string) (string, error) {
	quoted := "'" + strings.ReplaceAll(crun, "'", `'\''`) + "'"
	path := filepath.Join(root, wrapperName)
	if err := os.MkdirAll(root, 0o711); err != nil {
		return "", fmt.Errorf("write crun wrapper: %w", err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, crunWrapper, quoted), 0o700); err != nil {
		return "", fmt.Errorf("write crun wrapper: %w", err)
	}
	return path, nil
}
