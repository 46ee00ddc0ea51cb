package systemd_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/systemd"
)

// TestMain plays the service in the processes that TestSockets starts.
func TestMain(m *testing.M) {
	if os.Getenv("SYSTEMD_TEST_SERVICE") != "" {
		service()
		return
	}
	os.Exit(m.Run())
}

// service tells what it was passed.
func service() {
	s, err := systemd.TakeSockets(systemd.Process())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("names", s.Names(), "left", os.Getenv("LISTEN_FDS"))
	for _, l := range s.Named("docker") {
		fmt.Println("docker", filepath.Base(l.Addr().String()))
	}
	for _, l := range s.Rest("kept") {
		fmt.Println("rest", filepath.Base(l.Addr().String()))
	}
	fmt.Println("then", s.Names(), s.Close())
}

func TestSockets(t *testing.T) {
	dir := t.TempDir()
	var files []*os.File
	for _, name := range []string{"a", "b", "c", "d"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, tt := range []struct{ env, want string }{
		{"LISTEN_PID=$$ LISTEN_FDS=5 LISTEN_FDNAMES=kilnd:docker:kilnd:kept:odd",
			"names [kilnd docker kept] left \ndocker b\nrest a\nrest c\nthen [kept] <nil>\n"},
		{"LISTEN_PID=$$ LISTEN_FDS=2", "names [] left \nrest a\nrest b\nthen [] <nil>\n"},
		{"LISTEN_PID=1 LISTEN_FDS=2", "names [] left \nthen [] <nil>\n"},
		{"LISTEN_PID=$$ LISTEN_FDS=many", "take sockets: LISTEN_FDS is \"many\"\n"},
	} {
		cmd := exec.Command("/bin/sh", "-c", tt.env+` SYSTEMD_TEST_SERVICE=1 exec "$0"`, os.Args[0])
		cmd.ExtraFiles = append(files[:4:4], null)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tt.env, err, out, tt.want)
		}
	}
}
