// Package systemd is a service's side of what systemd offers one: sockets that
// outlive the process, word of what the service is doing, a watchdog, and the
// freedom to end when nobody needs it. It knows nothing of what is served, and
// does nothing when the process was not started by systemd.
//
// # Vocabulary
//
//   - Notifier: tells the manager how the service is; see sd_notify(3).
//   - Sockets: the listening sockets that the manager opened, each under the
//     FileDescriptorName= of its unit; see sd_listen_fds(3).
//   - Gate: stands at the listeners and counts connections. A gate that is shut
//     leaves new clients in the queue of the socket, where the next process of
//     the service finds them: nobody is turned away by a restart.
//   - Idle: with no connection and no work, for a set time.
//
// # Lifecycle
//
// The environment is read once, at the start, and cleaned, so that programs
// that the service starts do not take its sockets or speak in its name. A
// service says Ready when it serves, Reloading and Ready around a reload, and
// Stopping when it begins to stop. Guard pings until its context ends.
//
// # Concurrency
//
// All methods may be called from several goroutines. A nil Notifier tells
// nobody, so that callers need not ask whether there is a manager.
//
// # What it does not do
//
// It opens no socket of its own and never ends the process: it says when that
// may happen.
package systemd
