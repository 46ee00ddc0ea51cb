package solver

import (
	"context"
	"time"
)

// Cache finds results of earlier work. Its promise: what Lookup finds was
// stored under an equal Key by Save, is complete and durable, and survives a
// crash at any moment; what it does not find merely has to be made again.
// A Cache is safe for concurrent use.
type Cache interface {
	// Lookup returns the record stored under key, or nil when there is none.
	// It only reads metadata. An error is a fault of the store, never absence.
	Lookup(ctx context.Context, key *Key) (*Record, error)
	// Load returns a hold on the result of a record. An error means that the
	// result is gone or damaged; the caller runs the op instead.
	Load(ctx context.Context, rec *Record) (Result, error)
	// Save stores res under every one of keys (the final key first, then
	// others that lead to it) and returns the record. An older record under
	// the same key is replaced. Volatile keys are kept in memory only.
	Save(ctx context.Context, keys []*Key, res Result) (*Record, error)
}

// Record is a stored result: what Lookup knows without loading it.
type Record struct {
	// ResultID is the Result's ID.
	ResultID string
	// Key is the final key the result was saved under, the one dependents
	// build their keys on.
	Key *Key
	// CreatedAt is when the result was made.
	CreatedAt time.Time
	// From is the cache that Load is to be asked of; nil is the one that the
	// record was looked up in. The graph sets it for caches of single jobs.
	From Cache
}
