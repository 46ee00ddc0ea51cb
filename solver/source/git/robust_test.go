package git

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

// mirrorOf returns the directory of a remote's mirror.
func (f *fixture) mirrorOf(url string) string {
	f.t.Helper()
	a, err := f.Refs.Mutable(f.t.Context(), "git mirror sha1 "+url, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	dir, release, err := a.Dir(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _, _ = release(), a.Release(context.WithoutCancel(f.t.Context())) })
	return dir
}

// TestDamagedMirror leaves behind what a killed process and a power loss do.
func TestDamagedMirror(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	f := newFixture(t)
	f.dir(r.url, "")
	dir := f.mirrorOf(r.url)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, busyFile)); !os.IsNotExist(err) {
		t.Errorf("mirror at rest is busy: %v", err)
	}
	write(busyFile, "")
	write("shallow.lock", "")
	write("packed-refs.lock", "")
	r.commit(map[string]string{"f": "2"})
	equal(t, "after locks", listing(t, f.dir(r.url, "")), `-rw-r--r-- f "2"`)
	packs, err := filepath.Glob(filepath.Join(dir, "objects/pack/*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal("no packs")
	}
	for _, p := range packs {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "after empty packs", listing(t, f.dir(r.url, "")), `-rw-r--r-- f "2"`)
	r.commit(map[string]string{"f": "3"})
	equal(t, "and on", listing(t, f.dir(r.url, "")), `-rw-r--r-- f "3"`)
}

func TestConcurrentCheckouts(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	for i := range 4 {
		r.commit(map[string]string{"f": fmt.Sprint(i)})
		r.git("branch", fmt.Sprint("b", i))
	}
	f := newFixture(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			_, got, err := f.get(r.url, fmt.Sprint("#b", i))
			if err != nil {
				t.Error(err)
				return
			}
			equal(t, "branch", listing(t, f.Dir(t, got)), fmt.Sprintf(`-rw-r--r-- f "%d"`, i))
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(f.source.tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestCancel ends a fetch from a server that never answers.
func TestCancel(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 10), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer s.Close()
	defer close(release)
	f := newFixture(t)
	in, err := f.source.Open(t.Context(), identifier(t, s.URL+"/r.git", "#main"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := in.Key(ctx, f.env); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	c := &command{home: t.TempDir(), protocols: "http", idle: 200 * time.Millisecond}
	if _, err := c.run(t.Context(), "ls-remote", "--", s.URL); err == nil || !strings.Contains(err.Error(), "has said nothing for") {
		t.Errorf("got %v", err)
	}
}

// TestCommandIsolated runs git where everything it could read is hostile.
func TestCommandIsolated(t *testing.T) {
	home := t.TempDir()
	evil := filepath.Join(home, "evil")
	if err := os.WriteFile(evil, []byte("[alias]\nversion2 = !touch "+home+"/touched\n[core]\n\tpager = false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG"} {
		t.Setenv(v, evil)
	}
	t.Setenv("GIT_DIR", home)
	t.Setenv("GIT_SSH_COMMAND", "touch "+home+"/touched")
	c := &command{home: t.TempDir(), protocols: "http"}
	out, err := c.run(t.Context(), "config", "--list")
	if err != nil || strings.Contains(string(out), "alias") || !strings.Contains(string(out), "core.hookspath=/dev/null") {
		t.Errorf("%v:\n%s", err, out)
	}
	for _, url := range []string{"ext::touch " + home + "/touched", "file://" + home, home, "ssh://h/r"} {
		if _, err := c.run(t.Context(), "ls-remote", "--", url); err == nil {
			t.Errorf("%s is allowed", url)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "touched")); !os.IsNotExist(err) {
		t.Error("a configured command was run")
	}
}

func TestStderr(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	c := &command{hide: []string{"secret"}}
	w := &stderr{redact: c.redact, log: &log, watch: newWatchdog(0, nil)}
	for _, s := range []string{"counting 1%\rcounting 2%\r", "done\nthe sec", "ret is\nrest", strings.Repeat("x", 3*maxLine)} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Error(n, err)
		}
	}
	w.flush()
	if got := log.String(); !strings.HasPrefix(got, "done\nthe xxxxx is\nrestxxx") || strings.Contains(got, "counting") {
		t.Errorf("%.100q", got)
	}
	if len(w.tail) > maxStderr {
		t.Errorf("%d bytes kept", len(w.tail))
	}
}

// TestDaemon fetches by git's own protocol.
func TestDaemon(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		// What inetd does.
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				cmd := exec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+s.root)
				cmd.Stdin, cmd.Stdout = conn, conn
				_ = cmd.Run()
			}()
		}
	}()
	f := newFixture(t)
	equal(t, "git://", listing(t, f.dir("git://"+l.Addr().String()+"/r.git", "#main")), `-rw-r--r-- f "1"`)
}

// TestSSH has a program in the place of ssh that shows what it was given, talks
// to the agent, and then runs the server's side.
func TestSSH(t *testing.T) {
	s := newServer(t)
	r := s.repo("r.git")
	r.commit(map[string]string{"f": "1"})
	bin := t.TempDir()
	script := `#!/bin/sh
printf '%s\n' "$@" > ` + bin + `/args
for a in "$@"; do case "$a" in UserKnownHostsFile=*) cat "${a#*=}" > ` + bin + `/hosts;; esac; done
ls -l "$SSH_AUTH_SOCK" > ` + bin + `/sock 2>&1
eval "for last in \"\$@\"; do :; done"
cd ` + s.root + ` && eval "exec $last"
`
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	f := newFixture(t)
	f.env.IDs = []string{"s1"}
	(&sourcetest.Client{Agent: func(q []byte) []byte { return q }}).Open(t, f.Sessions, "s1")
	dir := f.dir("git@host.example:r.git", "#main", "git.mountsshsock", "default", "git.knownsshhosts", "host.example ssh-ed25519 AAAA\n")
	equal(t, "ssh", listing(t, dir), `-rw-r--r-- f "1"`)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	equal(t, "known hosts", read("hosts"), "host.example ssh-ed25519 AAAA\n")
	if got := read("sock"); !strings.HasPrefix(got, "srw-------") {
		t.Errorf("agent socket: %s", got)
	}
	if got := read("args"); !strings.Contains(got, "-F\n/dev/null\n") || !strings.Contains(got, "StrictHostKeyChecking=yes") || !strings.Contains(got, "IdentityFile=none") {
		t.Errorf("arguments: %s", got)
	}
	if _, _, err := f.get("git@host.example:r.git", "#main", "git.mountsshsock", "other"); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("agent that is not there: %v", err)
	}
}

// TestPrograms checks what users see without git.
func TestPrograms(t *testing.T) {
	f := newFixture(t)
	t.Setenv("PATH", t.TempDir())
	if _, _, err := f.get("https://h.example/r", "#main"); err == nil || !strings.Contains(err.Error(), "need the program git") {
		t.Errorf("got %v", err)
	}
}
