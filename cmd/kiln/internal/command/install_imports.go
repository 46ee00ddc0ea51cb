package command

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

// maxConfig bounds what is read of a containerd's configuration.
const maxConfig = 1 << 20

// imports reports whether a containerd's configuration names a file among its imports, by name or by a pattern. What
// imported files import in turn is not followed.
func imports(config, file string) (bool, error) {
	f, err := os.Open(config)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var top struct {
		Imports []string `toml:"imports"`
	}
	if err := toml.NewDecoder(io.LimitReader(f, maxConfig)).Decode(&top); err != nil {
		return false, fmt.Errorf("read %s: %w", config, err)
	}
	for _, pattern := range top.Imports {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(config), pattern)
		}
		if ok, err := filepath.Match(pattern, file); err == nil && ok {
			return true, nil
		}
	}
	return false, nil
}
