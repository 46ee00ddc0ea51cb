package cache

import (
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// batch is a group of changes on their way to the disk. Meanwhile it answers
// for them.
type batch struct {
	// table has the records as they will be, structures those that are new.
	table *table
	// forgotten hides records of earlier batches and of the file.
	forgotten map[string]struct{}
	// changes in the order they were made.
	changes []change
	// attempt is closed when writing was tried, err is then how it ended.
	attempt chan struct{}
	err     error
}

// change is a save, or, if rec is nil, the forgetting of result.
type change struct {
	ids        []digest.Digest
	rec        *solver.Record
	structures map[digest.Digest]Structure
	result     string
}

func newBatch() *batch {
	return &batch{table: newTable(0), forgotten: map[string]struct{}{}, attempt: make(chan struct{})}
}

// save adds the records and structures of c.
func (b *batch) save(c change) {
	b.changes = append(b.changes, c)
	for _, id := range c.ids {
		b.table.put(id, c.rec)
	}
	for id, s := range c.structures {
		b.table.learn(id, s)
	}
}

// forget hides what earlier batches and the file have of a result; what this
// batch saves of it later is visible again, as it will be in the file.
func (b *batch) forget(resultID string) {
	b.changes = append(b.changes, change{result: resultID})
	b.table.forget(resultID)
	b.forgotten[resultID] = struct{}{}
}

// find looks a record up in batches, newest first. ok says that they know the
// answer; otherwise the file does, save for what hidden says.
func find(batches []*batch, id digest.Digest) (rec *solver.Record, ok bool) {
	for i, b := range batches {
		if rec := b.table.records[id]; rec != nil {
			if hidden(batches[:i], rec.ResultID) {
				return nil, true
			}
			return rec, true
		}
	}
	return nil, false
}

// hidden says whether a result was forgotten in one of batches.
func hidden(batches []*batch, resultID string) bool {
	for _, b := range batches {
		if _, ok := b.forgotten[resultID]; ok {
			return true
		}
	}
	return false
}
