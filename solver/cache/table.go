package cache

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// table is a cache in maps. It has no lock.
type table struct {
	records    map[digest.Digest]*solver.Record
	structures map[digest.Digest]Structure
	// byResult has the keys of each result.
	byResult map[string]map[digest.Digest]struct{}

	// limit, if not zero, bounds the records; order has them by age, among
	// others that were replaced since.
	limit int
	order []aged
}

type aged struct {
	id  digest.Digest
	rec *solver.Record
}

func newTable(limit int) *table {
	return &table{
		records:    map[digest.Digest]*solver.Record{},
		structures: map[digest.Digest]Structure{},
		byResult:   map[string]map[digest.Digest]struct{}{},
		limit:      limit,
	}
}

// put stores rec under id in place of what was there.
func (t *table) put(id digest.Digest, rec *solver.Record) {
	t.remove(id)
	t.records[id] = rec
	keys := t.byResult[rec.ResultID]
	if keys == nil {
		keys = map[digest.Digest]struct{}{}
		t.byResult[rec.ResultID] = keys
	}
	keys[id] = struct{}{}
	if t.limit > 0 {
		t.order = append(t.order, aged{id, rec})
		t.shrink()
	}
}

// shrink removes the oldest records beyond the limit.
func (t *table) shrink() {
	replaced := func(a aged) bool { return t.records[a.id] != a.rec }
	if len(t.order) > 2*t.limit {
		t.order = slices.DeleteFunc(t.order, replaced)
	}
	for len(t.records) > t.limit {
		oldest := t.order[0]
		t.order = t.order[1:]
		if !replaced(oldest) {
			t.remove(oldest.id)
		}
	}
}

// remove drops what is stored under id, if anything.
func (t *table) remove(id digest.Digest) {
	rec, ok := t.records[id]
	if !ok {
		return
	}
	delete(t.records, id)
	keys := t.byResult[rec.ResultID]
	delete(keys, id)
	if len(keys) == 0 {
		delete(t.byResult, rec.ResultID)
	}
}

// forget drops the records of a result and returns their keys.
func (t *table) forget(resultID string) []digest.Digest {
	ids := t.keysOf(resultID)
	for _, id := range ids {
		t.remove(id)
	}
	return ids
}

// keysOf returns the keys of a result, sorted so that answers do not vary.
func (t *table) keysOf(resultID string) []digest.Digest {
	return slices.Sorted(maps.Keys(t.byResult[resultID]))
}

// learn remembers a structure; it reports whether it was known.
func (t *table) learn(id digest.Digest, s Structure) bool {
	old, ok := t.structures[id]
	if ok && (!isLeafContent(old) || isLeafContent(s)) {
		return true
	}
	t.structures[id] = s
	return false
}

// after returns the ids of structures that follow id, in order and at most n.
func (t *table) after(id digest.Digest, n int) []digest.Digest {
	var ids []digest.Digest
	for other := range t.structures {
		if other > id {
			ids = append(ids, other)
		}
	}
	slices.Sort(ids)
	return ids[:min(n, len(ids))]
}
