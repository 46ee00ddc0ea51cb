// Package files moves directory trees and byte streams between the daemon and
// its clients, in both directions, by the packet protocol that every client
// speaks. It promises that nothing a peer sends can make the receiver write
// outside its root, hold unbounded memory, or wait for ever.
//
// # Protocol
//
// The sender walks its tree in path order ('/' sorts before any other byte)
// and sends one STAT for each entry, then an empty STAT. Entries are numbered
// by their place. The receiver asks for the contents of regular files by
// number (REQ); the sender answers each with DATA packets, the last one empty.
// Files may interleave, walk and data overlap. When the receiver has all it
// wants it sends FIN, and the sender answers FIN. ERR with a text ends it from
// either side. A file that cannot be read is an empty DATA, not an error.
//
// # Vocabulary
//
//   - Tree: what a sender sends: Dir is one on disk, Listed one that is known
//     without any; both are filtered by patterns.
//   - Handler: what a receiver does with entries and data.
//   - Writer: writes entries below a root directory, which it never leaves.
//   - Listing: the entries of a tree in order, kept to tell later what changed.
//   - Mirror: a Handler that makes a directory equal to what is sent, asking
//     only for what differs from a Listing.
//   - Metadata: a Handler that lists all entries and mirrors only some.
//
// # Concurrency
//
// Receive calls Handler.Entry from one goroutine and Handler.Data from
// several; the pieces of one file always come from the same one, in order.
package files
