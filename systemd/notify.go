package systemd

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Environment is the process's environment. The zero value is not usable; see Process.
type Environment struct {
	// Get returns a variable, empty if it is not set.
	Get func(name string) string
	// Unset removes one.
	Unset func(name string) error
	// PID is the process that reads it.
	PID int
}

// take returns a variable and removes it.
func (e Environment) take(name string) string {
	value := e.Get(name)
	_ = e.Unset(name) // It fails for names that cannot be names only.
	return value
}

// Notifier tells the manager how the service is. Make one with NewNotifier.
type Notifier struct {
	socket string
}

// NewNotifier returns the notifier of the environment, nil if nobody listens.
func NewNotifier(env Environment) *Notifier {
	socket := env.take("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	return &Notifier{socket: socket}
}

// Ready says that the service serves, at the start and after Reloading.
func (n *Notifier) Ready() error { return n.send("READY=1") }

// Status says in one line for people what the service is doing.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Reloading says that the configuration is read again; Ready ends that, also
// when it failed.
func (n *Notifier) Reloading() error {
	if n == nil {
		return nil
	}
	// The manager tells by the time which of several reloads this is.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read monotonic clock: %w", err)
	}
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/int64(time.Microsecond), 10))
}

// Stopping says that the service is on its way out.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Extend says that a start or stop goes on and may take d more from now.
func (n *Notifier) Extend(d time.Duration) error {
	return n.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// ping says that the service lives.
func (n *Notifier) ping() error { return n.send("WATCHDOG=1") }

// sendWithin is how long a message may wait for the manager to read.
const sendWithin = 100 * time.Millisecond

// send sends one message of several assignments.
func (n *Notifier) send(assignments ...string) error {
	if n == nil {
		return nil
	}
	// A name that begins with @ is abstract; net knows the same sign.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	// A manager that does not read must not hold up the service.
	err = conn.SetWriteDeadline(time.Now().Add(sendWithin))
	if err == nil {
		_, err = conn.Write([]byte(strings.Join(assignments, "\n")))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
