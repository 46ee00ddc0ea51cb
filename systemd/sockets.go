package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// firstSocket is the descriptor that passed sockets begin at.
const firstSocket = 3

// maxSockets bounds what a process believes to have been passed.
const maxSockets = 1024

// Sockets are the listening sockets that the manager passed. Each is given out
// once.
type Sockets struct {
	mu     sync.Mutex
	passed []passed
}

// passed is one socket under the name of its unit.
type passed struct {
	name     string
	listener net.Listener
}

// TakeSockets takes the sockets of the environment; there may be none.
// Descriptors that are no listening stream sockets are closed and left out.
func TakeSockets(env Environment) (*Sockets, error) {
	pid, count, names := env.take("LISTEN_PID"), env.take("LISTEN_FDS"), env.take("LISTEN_FDNAMES")
	env.take("LISTEN_PIDFDID")
	s := &Sockets{}
	if pid == "" || pid != strconv.Itoa(env.PID) {
		return s, nil // They are for the process that started this one.
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("take sockets: LISTEN_FDS is %q", count)
	}
	named := strings.Split(names, ":")
	var errs []error
	for i := range n {
		name := ""
		if i < len(named) {
			name = named[i]
		}
		unix.CloseOnExec(firstSocket + i)
		f := os.NewFile(uintptr(firstSocket+i), name)
		if f == nil {
			continue
		}
		// The listener has a descriptor of its own.
		if l, err := net.FileListener(f); err == nil {
			s.passed = append(s.passed, passed{name: name, listener: l})
		}
		errs = append(errs, f.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(fmt.Errorf("take sockets: %w", err), s.Close())
	}
	return s, nil
}

// Named gives out the sockets under a name.
func (s *Sockets) Named(name string) []net.Listener {
	return s.give(func(p passed) bool { return p.name == name })
}

// Rest gives out the sockets that nobody took, but for those of some names.
func (s *Sockets) Rest(except ...string) []net.Listener {
	return s.give(func(p passed) bool { return !slices.Contains(except, p.name) })
}

// Names are the names of the sockets that nobody took, each once, in order.
func (s *Sockets) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, p := range s.passed {
		if !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// Close closes what nobody took; the manager's own descriptors stay open.
func (s *Sockets) Close() error {
	var errs []error
	for _, l := range s.Rest() {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func (s *Sockets) give(wanted func(passed) bool) []net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []net.Listener
	s.passed = slices.DeleteFunc(s.passed, func(p passed) bool {
		if !wanted(p) {
			return false
		}
		out = append(out, p.listener)
		return true
	})
	return out
}
