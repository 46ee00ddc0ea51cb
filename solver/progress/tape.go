package progress

import (
	"slices"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Bounds of a tape other than its log bytes. They only exist to keep a hostile
// or broken op from filling memory; no honest build reaches them.
const (
	maxItems = 100_000
	// logOverhead is added to the size of each log event, so that a million
	// one-byte writes cost what they cost.
	logOverhead = 160
)

const lostText = "\n[earlier output of this step is no longer kept]\n"

type slotKind byte

const (
	slotNone slotKind = iota
	slotVertex
	slotStatus
	slotLost
)

// slot names a place on the tape that holds one event only: a newer event for
// the same slot takes the older one's place, moved to the end.
type slot struct {
	kind   slotKind
	vertex digest.Digest
	id     string
	// n is the start of an interval or the number of a log stream.
	n int64
}

type entry struct {
	seq   uint64
	slot  slot
	event solver.Event
	size  int
}

func (e *entry) dead() bool { return e.event == solver.Event{} }

// tape keeps events in the order of their sequence numbers, which count from
// one and are never reused. It has no lock of its own.
type tape struct {
	maxLog int

	seq     uint64
	entries []entry
	deadN   int
	slots   map[slot]uint64
	logSize int
	// lost maps each log stream that lost events to the last one it lost.
	lost map[slot]uint64
}

func newTape(maxLog int) *tape {
	return &tape{maxLog: maxLog, slots: map[slot]uint64{}, lost: map[slot]uint64{}}
}

// slotOf returns where an event belongs; logs and warnings only accumulate.
func slotOf(ev solver.Event) slot {
	switch {
	case ev.Vertex != nil:
		s := slot{kind: slotVertex, vertex: ev.Vertex.Digest}
		if ev.Vertex.Started != nil {
			s.n = ev.Vertex.Started.UnixNano()
		}
		return s
	case ev.Status != nil:
		return slot{kind: slotStatus, vertex: ev.Status.Vertex, id: ev.Status.ID}
	}
	return slot{}
}

func (t *tape) add(ev solver.Event) {
	if (ev == solver.Event{}) {
		return
	}
	e := entry{slot: slotOf(ev), event: ev}
	if e.slot.kind != slotNone {
		if old, ok := t.slots[e.slot]; ok {
			t.kill(t.find(old))
		}
	}
	t.seq++
	e.seq = t.seq
	if e.slot.kind != slotNone {
		t.slots[e.slot] = e.seq
	}
	if ev.Log != nil {
		e.size = len(ev.Log.Data) + logOverhead
		t.logSize += e.size
	}
	t.entries = append(t.entries, e)
	t.trim()
}

// find returns the index of the first entry numbered seq or higher.
func (t *tape) find(seq uint64) int {
	return sort.Search(len(t.entries), func(i int) bool { return t.entries[i].seq >= seq })
}

func (t *tape) kill(i int) {
	e := &t.entries[i]
	if e.event.Log != nil {
		t.logSize -= e.size
		t.lost[slot{kind: slotLost, vertex: e.event.Log.Vertex, n: int64(e.event.Log.Stream)}] = e.seq
	}
	if e.slot.kind != slotNone {
		delete(t.slots, e.slot)
	}
	e.event = solver.Event{}
	e.slot = slot{}
	t.deadN++
}

// trim enforces the bounds. It frees a quarter at once, so that a tape at its
// bound does not pay for a scan with every event.
func (t *tape) trim() {
	if t.logSize > t.maxLog {
		t.evict(func(e *entry) bool { return e.event.Log != nil },
			func() bool { return t.logSize > t.maxLog/4*3 })
	}
	if len(t.entries)-t.deadN > maxItems {
		t.evict(func(*entry) bool { return true },
			func() bool { return len(t.entries)-t.deadN > maxItems/4*3 })
	}
	if t.deadN > 64 && t.deadN > len(t.entries)/2 {
		t.entries = slices.DeleteFunc(t.entries, func(e entry) bool { return e.dead() })
		t.deadN = 0
	}
}

func (t *tape) evict(match func(*entry) bool, more func() bool) {
	for i := range t.entries {
		if !more() {
			return
		}
		if e := &t.entries[i]; !e.dead() && match(e) {
			t.kill(i)
		}
	}
}

// since calls fn with all events after sequence number seq, oldest first,
// and before them with a notice for each log stream that lost some.
func (t *tape) since(seq uint64, fn func(solver.Event)) {
	for s, last := range t.lost {
		if last > seq {
			fn(solver.Event{Log: &solver.LogEvent{Vertex: s.vertex, Stream: int(s.n), Data: []byte(lostText)}})
		}
	}
	for _, e := range t.entries[t.find(seq+1):] {
		if !e.dead() {
			fn(e.event)
		}
	}
}
