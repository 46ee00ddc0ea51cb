package unixsocket_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/plugin/unixsocket"
)

// TestLongPaths are refused from the first byte on that the kernel refuses.
func TestLongPaths(t *testing.T) {
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	fits := filepath.Join(dir, strings.Repeat("n", unixsocket.MaxPath-len(dir)-1))
	l, err := unixsocket.Listen(t.Context(), fits)
	if err != nil {
		t.Fatalf("a path of %d bytes: %v", len(fits), err)
	}
	defer l.Close()
	if st, err := os.Stat(fits); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket is %v, %v", st, err)
	}
	_, err = unixsocket.Listen(t.Context(), fits+"n")
	want := fmt.Sprintf("%sn has %d bytes, but at most %d are possible", fits, unixsocket.MaxPath+1, unixsocket.MaxPath)
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("a longer one: %v", err)
	}
}
