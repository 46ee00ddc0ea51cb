package display

import (
	"encoding/json"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// The names below are read by programs (rawjson, trace files): wire facts.

// jsonVertex is a step, with empty fields left out.
type jsonVertex struct {
	Digest    digest.Digest   `json:"digest,omitempty"`
	Inputs    []digest.Digest `json:"inputs,omitempty"`
	Name      string          `json:"name,omitempty"`
	Started   *time.Time      `json:"started,omitempty"`
	Completed *time.Time      `json:"completed,omitempty"`
	Cached    bool            `json:"cached,omitempty"`
	Error     string          `json:"error,omitempty"`
	Group     *jsonGroup      `json:"progressGroup,omitempty"`
}

// jsonGroup is the group of a step.
type jsonGroup struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Weak bool   `json:"weak,omitempty"`
}

// jsonActivity is an activity. Current is there even if it is zero.
type jsonActivity struct {
	ID        string        `json:"id"`
	Vertex    digest.Digest `json:"vertex,omitempty"`
	Name      string        `json:"name,omitempty"`
	Total     int64         `json:"total,omitempty"`
	Current   int64         `json:"current"`
	Timestamp time.Time     `json:"timestamp"`
	Started   *time.Time    `json:"started,omitempty"`
	Completed *time.Time    `json:"completed,omitempty"`
}

// jsonLog is a piece of output; bytes are base64 in JSON.
type jsonLog struct {
	Vertex    digest.Digest `json:"vertex,omitempty"`
	Stream    int           `json:"stream,omitempty"`
	Data      []byte        `json:"data"`
	Timestamp time.Time     `json:"timestamp"`
}

// jsonWarning is advice, its texts in base64.
type jsonWarning struct {
	Vertex digest.Digest  `json:"vertex,omitempty"`
	Level  int            `json:"level,omitempty"`
	Short  []byte         `json:"short,omitempty"`
	Detail [][]byte       `json:"detail,omitempty"`
	URL    string         `json:"url,omitempty"`
	Source *pb.SourceInfo `json:"sourceInfo,omitempty"`
	Range  []*pb.Range    `json:"range,omitempty"`
}

// jsonBatch is one line. The plural of the first name is a fact.
type jsonBatch struct {
	Vertexes []jsonVertex   `json:"vertexes,omitempty"`
	Statuses []jsonActivity `json:"statuses,omitempty"`
	Logs     []jsonLog      `json:"logs,omitempty"`
	Warnings []jsonWarning  `json:"warnings,omitempty"`
}

// toJSON converts a batch; what is not there is left out.
func toJSON(b *progress.Batch) *jsonBatch {
	out := &jsonBatch{}
	for _, v := range b.Vertices {
		out.Vertexes = append(out.Vertexes, jsonVertex{v.Digest, v.Inputs, v.Name, v.Started, v.Completed, v.Cached, v.Error, toGroup(v.Group)})
	}
	for _, s := range b.Statuses {
		out.Statuses = append(out.Statuses, jsonActivity{s.ID, s.Vertex, s.Name, s.Total, s.Current, s.Timestamp, s.Started, s.Completed})
	}
	for _, l := range b.Logs {
		out.Logs = append(out.Logs, jsonLog{l.Vertex, l.Stream, l.Data, l.Timestamp})
	}
	for _, w := range b.Warnings {
		out.Warnings = append(out.Warnings, jsonWarning{w.Vertex, w.Level, w.Short, w.Detail, w.URL,
			rpcerr.SourceInfo(w.Source), llb.RangesToPB(w.Ranges)})
	}
	return out
}

// toGroup converts a group; nil stays nil.
func toGroup(g *solver.ProgressGroup) *jsonGroup {
	if g == nil {
		return nil
	}
	return &jsonGroup{g.ID, g.Name, g.Weak}
}

// jsonView writes one line of JSON for each batch, as it comes.
type jsonView struct {
	enc *json.Encoder
}

func newJSON(w io.Writer) *jsonView { return &jsonView{json.NewEncoder(w)} }

func (j *jsonView) update(b *progress.Batch) error { return j.enc.Encode(toJSON(b)) }

func (*jsonView) refresh(time.Time) error { return nil }

func (*jsonView) close(time.Time) error { return nil }
