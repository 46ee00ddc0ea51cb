package ref

import (
	"time"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// Record types, as Usage reports and filters know them.
const (
	TypeInternal    = "internal"
	TypeFrontend    = "frontend"
	TypeLocal       = "source.local"
	TypeGitCheckout = "source.git.checkout"
	TypeCacheMount  = "exec.cachemount"
	TypeRegular     = "regular"
)

// Option describes the ref that a call makes. Options are ignored for refs
// that turn out to exist already.
type Option func(*options)

type options struct {
	description string
	recordType  string
	createdAt   time.Time
	keep        bool
}

// WithDescription sets the text shown to people in usage listings.
func WithDescription(text string) Option {
	return func(o *options) { o.description = text }
}

// WithRecordType sets the kind of record; the default is TypeRegular, for
// Mutable TypeCacheMount.
func WithRecordType(t string) Option {
	return func(o *options) { o.recordType = t }
}

// WithCreatedAt sets the time of making; the default is now.
func WithCreatedAt(t time.Time) Option {
	return func(o *options) { o.createdAt = t }
}

// WithKeep keeps the ref from the start, as Store.Keep does.
func WithKeep() Option {
	return func(o *options) { o.keep = true }
}

// CommitOption changes what Active.Commit does.
type CommitOption func(*commitOptions)

type commitOptions struct {
	index *layerindex.Index
}

// WithIndex hands over the index of the layer when its writer hashed what it
// wrote. It must describe the layer exactly and completely.
func WithIndex(idx *layerindex.Index) CommitOption {
	return func(o *commitOptions) { o.index = idx }
}

// withOptionalIndex is WithIndex unless there is none.
func withOptionalIndex(idx *layerindex.Index) []CommitOption {
	if idx == nil {
		return nil
	}
	return []CommitOption{WithIndex(idx)}
}
