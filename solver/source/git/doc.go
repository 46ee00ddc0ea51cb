// Package git is the source of git repositories. It promises that a checkout
// is that of one commit, whatever branches and tags do meanwhile; that it looks
// the same on every machine; that neither names in repositories nor what their
// servers say lead out of the checkout; and that credentials are in nobody's
// arguments, logs or errors.
//
// # Vocabulary
//
//   - Remote: where a repository is; http, https, ssh, git and git@host:path.
//   - Spec: what the identifier asks for: remote, reference, subdirectory and
//     how to check out.
//   - Resolved: the reference in full and the object it names.
//   - Bundle: a file with objects and references of a repository. It can stand
//     in for the remote, which is then not asked, or be what comes out.
//   - Mirror: a bare repository with what was fetched of a remote so far. It is
//     kept as a mutable ref, so that it is found again, counted and pruned.
//   - Command: one run of the git program, with nothing of this machine's
//     configuration, no prompts, no hooks, and a list of protocols.
//
// # Scenario
//
// Key asks the remote what the reference names; a full commit id needs no
// network. Fetch takes the mirror's lock, fetches the commit into it unless it
// is there, without history where the server can do that, and writes its files
// into a new layer. Submodules follow, each from a mirror of its own and only
// after the lock of the one above is given back, so that no two checkouts can
// wait for each other. Within one session a reference is asked for once.
//
// # Signatures
//
// If the spec wants one, there is no key before the commit or its annotated tag
// is here and verified: its bytes are those of its id, and one of the spec's
// keys has signed them.
//
// # Determinism
//
// Files have mode 0644 or 0755 and directories 0755, whatever the daemon's
// umask; no attribute runs a filter, and line ends are those of the repository.
// Times are those of the checkout, or with mtime=commit all the committer's.
//
// # Concurrency
//
// Source is safe for concurrent use, calls on one instance are sequential.
// Checkouts of one remote run one after another.
//
// # What it does not do
//
// Objects of large file storage stay pointers. A bundle that was made is not
// the same for every history of its mirror, and has no submodules.
package git
