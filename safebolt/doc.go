// Package safebolt is a bbolt database whose transactions are not synced one by one and which still survives a power
// loss: what comes back is the last safe point, complete, or something newer; never a mixture.
//
// # Why
//
// A synced bbolt transaction costs 0.35–0.5 ms, and one snapshot operation through containerd's metadata layer needs
// several. bbolt's own NoSync switch removes the cost and the safety with it: the kernel may write the pages of an
// unsynced transaction in any order, so after a power loss the newest meta page can point at pages that never reached
// the disk, and the pages of the last good state may already have been reused.
//
// # Vocabulary
//
//   - A generation counts committed Update calls in this process.
//   - A safe point is one committed state of the database, all pages of which are on the disk, and a record that says
//     which state that is.
//   - The pin is a read transaction that stays open on the safe point.
//   - The record is a 64-byte bbolt meta and the boot id, kept in "<path>.safe" in two slots written in turn.
//
// # Why it is safe
//
// The database runs with NoSync. Three things together make every instant recoverable:
//
//  1. bbolt is multi-version: while a read transaction is open, no page reachable from its state is reused. The pin is
//     such a transaction, so no later write touches a page of the safe point, only free pages and the two meta pages.
//  2. The two meta pages are the only part of the safe point that later transactions overwrite. They are restored from
//     the record at Open.
//  3. Sync moves the safe point in this order: open a new pin on the newest state; flush what that state names
//     (Options.Flush: the files of snapshots and blobs); fdatasync the database; write and fdatasync the record; close
//     the old pin. A power loss before the record is whole finds the old record, whose pages are still pinned; after
//     it, the new one, whose pages are all on the disk.
//
// Open restores the record's meta unless the record was written in this very boot. In the same boot the page cache is
// the disk: a process killed with SIGKILL loses nothing it had written, and bbolt's copy-on-write keeps a commit that
// was cut short invisible. So kill -9 loses no committed transaction; a power loss goes back to the last safe point,
// at most Options.Interval of idle-time work and never anything that a Sync call had confirmed.
//
// The price is space: until the safe point moves, hardly any page is reused, so the file grows by what is written. The
// growth between two safe points is bounded; afterwards the pages are free again.
//
// A failed fdatasync is final: the kernel may have dropped the pages, so the database refuses further writes, and the
// next Open goes back to the safe point.
//
// # What callers owe
//
// Going back must not name what is gone. Whoever destroys a file that the database used to name calls Sync between the
// transaction that drops the name and the destruction. Whoever creates a file may leave the flushing to Options.Flush.
//
// # Concurrency
//
// All methods may be called from any goroutine. Update calls are serialised; Sync holds writers up only while it opens
// the new pin (microseconds), never during the flush. Sync must not be called inside Update or View. Concurrent Sync
// calls share one flush.
//
// # What it does not do
//
// It does not notice a disk that vanished and came back within one boot without the kernel reporting an error to
// fdatasync. It is for 64-bit Linux; a 32-bit address space limits the database to half a gigabyte.
package safebolt
