package cache

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Results owns the results that records name.
type Results interface {
	// Load returns a hold on the result of that id. An error that is
	// errdefs.ErrNotFound says that it is gone for good: the cache then forgets
	// every record of it.
	Load(ctx context.Context, id string) (solver.Result, error)
	// Keep makes res durable and keeps it after all holds on it are released.
	// Keeping a result again does nothing.
	Keep(ctx context.Context, res solver.Result) error
}

// Inspector looks at what a store holds.
type Inspector interface {
	// Walk calls fn for the key of that id and for everything under it, each
	// key once, dependents before inputs, until fn returns an error. Keys
	// whose structure is not known are passed over.
	Walk(ctx context.Context, id digest.Digest, fn func(Node) error) error
	// KeysOf returns the ids of all keys that lead to a result, sorted.
	KeysOf(ctx context.Context, resultID string) ([]digest.Digest, error)
	// List returns the keys after the one of that id (empty: from the first),
	// in the order of their ids and at most n: whoever wants all asks again
	// with the last. Only keys whose structure is known are listed.
	List(ctx context.Context, after digest.Digest, n int) ([]Node, error)
	// Stats returns counts.
	Stats(ctx context.Context) (Stats, error)
}

// Store is a cache that can be looked into and told to forget.
type Store interface {
	solver.Cache
	Inspector
	// Forget drops all records of a result, because it is being removed.
	// Afterwards Lookup does not find them. Forgetting an unknown result does
	// nothing.
	Forget(ctx context.Context, resultID string) error
}

// Node is a key as Walk shows it.
type Node struct {
	ID digest.Digest
	Structure
	// Record is what is stored under the key; nil for nothing.
	Record *solver.Record
}

// Structure says what a key is made of.
type Structure struct {
	// Digest and Output are those of solver.Key.
	Digest digest.Digest
	Output int
	Inputs []Link
}

// Link is one input of a Structure.
type Link struct {
	Selector digest.Digest
	// Key is the id of the input's key.
	Key digest.Digest
}

// Stats counts what a store holds and did since it was opened.
type Stats struct {
	// Records, Structures and Results count what is stored, volatile ones
	// included.
	Records, Structures, Results int
	// Pending counts changes that are not on disk yet.
	Pending int
	// Bytes is the size of the file; zero for memory.
	Bytes int64
	// Lookups and Hits count calls of Lookup and those that found something.
	Lookups, Hits int64
}

// structureOf returns what key is made of.
func structureOf(key *solver.Key) Structure {
	s := Structure{Digest: key.Digest, Output: key.Output}
	for _, in := range key.Inputs {
		s.Inputs = append(s.Inputs, Link{Selector: in.Selector, Key: in.Key.ID()})
	}
	return s
}

// isLeafContent tells keys that may be stubs: they say nothing of what they are
// made of, so they must not replace a structure that does.
func isLeafContent(s Structure) bool {
	return s.Output == solver.ContentOutput && len(s.Inputs) == 0
}

// stub returns a key that has an id and nothing else.
func stub(id digest.Digest, volatile bool) *solver.Key {
	return &solver.Key{Digest: id, Output: solver.ContentOutput, Volatile: volatile}
}

// collect calls known for key and everything under it that known does not say
// to know already. It uses no recursion.
func collect(key *solver.Key, known func(id digest.Digest, s Structure) bool) {
	seen := map[*solver.Key]struct{}{}
	todo := []*solver.Key{key}
	for len(todo) > 0 {
		var k *solver.Key
		k, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if _, ok := seen[k]; ok {
			continue
		}
		seen[k] = struct{}{}
		if known(k.ID(), structureOf(k)) {
			continue
		}
		for _, in := range k.Inputs {
			todo = append(todo, in.Key)
		}
	}
}

// newRecord returns the record of a result; nil is the empty file system.
func newRecord(keys []*solver.Key, res solver.Result, now time.Time) *solver.Record {
	rec := &solver.Record{Key: keys[0], CreatedAt: now.UTC()}
	if res != nil {
		rec.ResultID = res.ID()
	}
	return rec
}
