package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestNormalize(t *testing.T) {
	root := (&globals{IO: IO{LookupEnv: func(string) (string, bool) { return "", false }}}).newRoot("buildctl", "")
	for in, want := range map[string]string{
		"-addr unix:///x du":          "--addr unix:///x du",
		"build -frontend=f -o type=x": "build --frontend=f -o type=x",
		"build -output type=x":        "build --output type=x",
		"du -v -f x -- -addr":         "du -v -f x -- -addr",
		"build -otype=x -":            "build -otype=x -",
		"du --filter x":               "du --filter x",
	} {
		if got := normalize(root, strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	for args, want := range map[string]int{
		"nosuch": exitNoCommand, "debug nosuch": exitNoCommand, "du --nosuch": exitFailure, "du extra": exitFailure, "debug": 0, "": 0, "help": 0,
	} {
		if got := ExitCode((&cli{}).run(t, nil, strings.Fields(args)...)); got != want {
			t.Errorf("%q: exit code %d, want %d", args, got, want)
		}
	}
}

func TestDumpMetadata(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "refs"), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(root, "refs", "refs.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("outer"))
		if err != nil {
			return err
		}
		in, err := b.CreateBucket([]byte("inner"))
		if err != nil {
			return err
		}
		if err := in.Put([]byte("k"), []byte{1}); err != nil {
			return err
		}
		return b.Put([]byte("text"), []byte(`{"a":1}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := &cli{}
	if err := c.run(t, nil, "debug", "dump-metadata", "--root", root); err != nil {
		t.Fatal(err)
	}
	same(t, "dump", "===== "+root+"/refs/refs.db =====\nbucket \"outer\":\n  bucket \"inner\":\n    \"k\": \"\\x01\"\n  \"text\": {\"a\":1}\n", c.out.String())
	if err := os.WriteFile(filepath.Join(root, "bad.db"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.run(t, nil, "debug", "dump-metadata", "--root", root); err == nil || !strings.Contains(err.Error(), "bad.db") {
		t.Errorf("damaged database: %v", err)
	}
}

// Profiles are written, whatever becomes of the command.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	c := &cli{}
	var args []string
	for _, p := range []string{"cpu", "memory", "block", "mutex", "trace"} {
		args = append(args, "--profile-"+p, filepath.Join(dir, p))
	}
	if err := c.run(t, nil, append(args, "du")...); err == nil {
		t.Error("no error without a daemon")
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 5 {
		t.Errorf("files %q, error %v", files, err)
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err != nil || fi.Size() == 0 {
			t.Errorf("%s: %v, error %v", f, fi, err)
		}
	}
}
