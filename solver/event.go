package solver

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Event is one item of a build's progress stream: exactly one field is set.
// Events are values; receivers must not change what they point to.
type Event struct {
	Vertex  *VertexEvent
	Status  *StatusEvent
	Log     *LogEvent
	Warning *WarningEvent
	Traffic *TrafficEvent
	Pin     *PinEvent
}

// VertexEvent announces a vertex or a change of its state. The last event of
// a vertex says how it ended; a vertex may start and end several times.
type VertexEvent struct {
	Digest digest.Digest
	Name   string
	Inputs []digest.Digest
	// Started and Completed are nil until they happen.
	Started   *time.Time
	Completed *time.Time
	// Cached says that the result was there and nothing ran.
	Cached bool
	// Error is the text of the failure; empty for none.
	Error string
	Group *ProgressGroup
}

// StatusEvent reports one activity within a vertex, for example the transfer
// of a layer. Events with equal Vertex and ID replace each other.
type StatusEvent struct {
	Vertex digest.Digest
	// ID is shown to people.
	ID string
	// Name classifies the activity ("transferring", "extracting"); often empty.
	Name string
	// Current and Total count bytes or items; zero if there is nothing to
	// count, Total zero if the end is not known.
	Current, Total int64
	Timestamp      time.Time
	Started        *time.Time
	Completed      *time.Time
}

// Streams of LogEvent.
const (
	Stdout = 1
	Stderr = 2
)

// LogEvent is a piece of output of a process; not necessarily a whole line.
type LogEvent struct {
	Vertex    digest.Digest
	Timestamp time.Time
	// Stream is Stdout or Stderr.
	Stream int
	Data   []byte
}

// WarningEvent is advice that does not stop the build.
type WarningEvent struct {
	Vertex digest.Digest
	// Level counts from 1, the most important.
	Level  int
	Short  []byte
	Detail [][]byte
	URL    string
	Source *SourceInfo
	Ranges []Range
}

// SourceInfo is a text that ops were made from, such as a Dockerfile.
type SourceInfo struct {
	Filename string
	Language string
	Data     []byte
	// Definition is the serialised graph that the text was read from, if any;
	// opaque to everything but clients.
	Definition []byte
}

// Range is a part of a text.
type Range struct {
	Start, End Position
}

// Position in a text.
type Position struct {
	// Line counts from 1.
	Line int
	// Character counts from 0.
	Character int
}
