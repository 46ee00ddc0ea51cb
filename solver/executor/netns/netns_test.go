package netns

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func create(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net", "a")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestCreateAndRemove(t *testing.T) {
	path := create(t)
	if !Mounted(path) {
		t.Fatal("nothing is mounted")
	}
	var names []string
	err := Do(path, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			names = append(names, i.Name)
			if i.Name == "lo" && i.Flags&net.FlagUp == 0 {
				t.Error("loopback is down")
			}
		}
		return err
	})
	if err != nil || len(names) == 0 || names[0] != "lo" {
		t.Fatalf("interfaces inside: %v, %v", names, err)
	}
	if err := Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) || Mounted(path) {
		t.Fatalf("still there: %v", err)
	}
	if err := Remove(path); err != nil {
		t.Fatalf("removing again: %v", err)
	}
}

func TestCreateTwice(t *testing.T) {
	path := create(t)
	if err := Create(path); !errors.Is(err, os.ErrExist) {
		t.Fatalf("got %v", err)
	}
	if !Mounted(path) {
		t.Fatal("the first one was removed")
	}
}

// TestThreadsComeBack looks from many goroutines at once for a thread that
// stayed behind in a namespace.
func TestThreadsComeBack(t *testing.T) {
	path := create(t)
	home, err := os.Readlink(own)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_ = Do(path, func() error {
				if now, _ := os.Readlink(own); now == home {
					t.Error("not inside")
				}
				return errors.New("failed")
			})
			if now, _ := os.Readlink(own); now != home {
				t.Errorf("a thread is in %s", now)
			}
		})
	}
	wg.Wait()
}

func TestDialInside(t *testing.T) {
	path := create(t)
	var ln net.Listener
	err := Do(path, func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, _ = io.WriteString(c, "inside")
			_ = c.Close()
		}
	}()
	if c, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second); err == nil {
		_ = c.Close()
		t.Fatal("reached from outside")
	}
	d := Dialer{Path: path}
	conn, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "inside" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestDialNames has a name server that counts questions: they must come from
// the daemon's side when it is on loopback.
func TestDialNames(t *testing.T) {
	path := create(t)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	d := Dialer{Path: path}
	conn, err := d.dialNameserver(t.Context(), "udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 1)
	if _, _, err := server.ReadFrom(buf); err != nil {
		t.Fatalf("the daemon's name server was not asked: %v", err)
	}
}
