// Package buildxdriver is the buildx driver named kiln: `docker buildx create
// --driver kiln` gives a builder that is the kilnd of this machine, started if
// nobody has done so.
//
// Promise: a builder made with this driver works without any preparation, and
// `docker buildx stop` and `rm` end the process that the builder has started,
// and no other one. What a builder found running is never touched.
//
// # Vocabulary
//
//   - Node: buildx's word for one daemon of a builder. Each has a Driver.
//   - Socket: where the node's kilnd answers. systemd may hold it, and start
//     kilnd at the first connection.
//   - Room: a directory below the state directory with what the driver knows
//     of one node: the record of the process it started, its log, and the
//     configuration it was given.
//   - Record: which process that was. A process id alone may mean another
//     process by now, so it counts only with the boot and the start time.
//
// # Lifecycle
//
// buildx makes a new Driver in each of its processes, so that all state is in
// the room. Bootstrap looks for an answer at the socket and starts kilnd only
// if there is none; the process is detached and outlives buildx. Stop ends it
// and keeps the record, so that the node shows as stopped. Rm removes the room
// too, and the root directory if the node's options name one and the driver has
// made it.
//
// # Concurrency
//
// Start, stop and removal hold a lock on the state directory that also counts
// between processes: two builds that begin at once start one kilnd.
//
// # What it does not do
//
// It reaches no other machine and speaks no TLS: buildx's remote driver does.
// It does not watch over what it started: a service manager does.
package buildxdriver
