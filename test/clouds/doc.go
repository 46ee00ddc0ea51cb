// Package clouds stands in for the services that keep caches: Amazon's object
// store, Azure's, and the cache of GitHub Actions. It promises that a client
// which works with the services works with these: they follow what the
// services' own libraries send, in all versions of the protocols that builders
// use, and refuse what the services refuse.
//
// Vocabulary. A store is one server on a free loopback port that lives as long
// as the test that asked for it; its attributes are those that a client gives a
// cache in it. Bytes are kept in memory.
//
// Concurrency. Stores may be used by any number of clients at once.
//
// They do not verify signatures, keep no history, and never forget anything.
package clouds
