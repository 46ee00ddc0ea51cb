// Package local brings directories of a client into the builder: the build
// context and named contexts. It promises that only what changed since the
// last transfer is sent and written, whichever build asked for it.
//
// # How it works
//
// A transfer is kept as a ref and a listing of its entries under a reuse key:
// the directory's name, the client's shared key and hint, and the patterns.
// The next transfer of the same key compares what the client lists with the
// kept listing. If nothing differs, the kept ref is the result. Otherwise the
// differences become a new layer on top of it, so that the cost follows the
// size of the change. After maxDepth such layers a fresh transfer is made.
//
// With metadata transfers only a list of all entries comes, as a file of its
// own, and of the entries those that match patterns.
//
// # Keys
//
// What a client has on its disk has no name, so the definition key is
// volatile: dependents are found by the contents of what they use.
//
// # Concurrency
//
// Transfers of one reuse key run one after another, others side by side. A
// crash loses at most the memory of the last transfer: a listing is replaced
// only after its ref is there, and names it.
package local
