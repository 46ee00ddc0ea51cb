package command

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	bolt "go.etcd.io/bbolt"
)

// dumpWait bounds waiting for a daemon that has a database open.
const dumpWait = 3 * time.Second

// newDumpMetadata shows the databases of a daemon that does not run.
func newDumpMetadata(g *globals, daemonRoot string) *cobra.Command {
	root := ""
	cmd := &cobra.Command{
		Use: "dump-metadata", Short: "dump the metadata in human-readable form; the daemon must not be running", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return dumpMetadata(g.Out, root) },
	}
	cmd.Flags().StringVar(&root, "root", daemonRoot, "path to the state directory")
	return cmd
}

// dumpMetadata prints every database under root; snapshots hold file systems
// of images, which may have databases of their own.
func dumpMetadata(w io.Writer, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "snapshots" || d.Name() == "content"):
			return fs.SkipDir
		case !d.Type().IsRegular() || filepath.Ext(path) != ".db":
			return nil
		}
		fmt.Fprintf(w, "===== %s =====\n", path)
		return dumpDatabase(w, path)
	})
}

// dumpDatabase prints a database. The library panics where a damaged file
// leads it astray.
func dumpDatabase(w io.Writer, path string) (err error) {
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: dumpWait})
	if err != nil {
		return fmt.Errorf("open %s (is the daemon running?): %w", path, err)
	}
	defer func() { _ = db.Close() }() // It is only read.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: the file is damaged: %v", path, p)
		}
	}()
	return db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return dumpBucket(w, name, b, 0) })
	})
}

// dumpBucket prints a bucket and those in it, further in.
func dumpBucket(w io.Writer, name []byte, b *bolt.Bucket, depth int) error {
	indent := strings.Repeat("  ", depth)
	fmt.Fprintf(w, "%sbucket %q:\n", indent, name)
	return b.ForEach(func(k, v []byte) error {
		if inner := b.Bucket(k); inner != nil {
			return dumpBucket(w, k, inner, depth+1)
		}
		_, err := fmt.Fprintf(w, "%s  %q: %s\n", indent, k, printable(v))
		return err
	})
}

// printable is text as it is, and anything else quoted.
func printable(v []byte) string {
	s := string(v)
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\uFFFD' || r == 0x7f }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
