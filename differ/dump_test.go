package differ_test

import (
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// dump lists an index, one line an entry. Without exact, what may differ between
// indexes that mean the same is left out: whiteouts below opaque directories
// and the marks of these, the root (whose directory each side makes itself),
// and the times of directories.
func dump(x *layerindex.Index, exact bool) string {
	var b strings.Builder
	for _, e := range x.Entries() {
		if !exact && (e.Path == "" || e.Kind == layerindex.Whiteout || e.Kind == layerindex.Socket) {
			continue
		}
		fmt.Fprintf(&b, "%s %s %o %d:%d %d link %q dev %d,%d %q %.12s %.12s", e.Path, e.Kind, e.Mode, e.UID, e.GID, e.Size,
			e.LinkName, e.DevMajor, e.DevMinor, e.Xattrs, e.Digest.Digest().Encoded(), e.Content.Digest().Encoded())
		if e.Kind != layerindex.Directory {
			fmt.Fprintf(&b, " %d", e.ModTime)
		}
		if exact {
			fmt.Fprintf(&b, " opaque %v", e.Opaque)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
