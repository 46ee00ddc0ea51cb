package lower

import (
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// node is a step of the plan. A nil *node is the empty file system. Nodes do
// not change once they are referred to, but for the label when the plan is
// written.
type node struct {
	label label
	work  work
}

// work is what a node does: *execWork, *fileWork, *mergeWork or *openWork.
type work interface{ inputs() []*node }

// label is what people see of a step, and its platform.
type label struct {
	// name is shown in the log, source is the instruction's text (nil: not
	// said).
	name   string
	source *string
	// ranges are the lines in the Dockerfile.
	ranges      []syntax.Range
	ignoreCache bool
	group       *compose.Group
	platform    *ocispecs.Platform
	resources   *compose.Resources
}

// execWork runs a process. Its result is the root file system after it. The
// sources of exec's mounts are in from, one for each.
type execWork struct {
	exec compose.Exec
	from []*node
}

func (w *execWork) inputs() []*node { return w.from }

// fileWork changes files of base.
type fileWork struct {
	base    *node
	actions []fileAction
}

// fileAction is a copy, whose source is from, or another action.
type fileAction struct {
	copy  *compose.Copy
	from  *node
	other compose.Action
}

func (w *fileWork) inputs() []*node {
	in := []*node{w.base}
	for _, action := range w.actions {
		in = append(in, action.from)
	}
	return in
}

// mergeWork lays file systems over each other, the last on top.
type mergeWork struct{ layers []*node }

func (w *mergeWork) inputs() []*node { return w.layers }

// openWork is a source. It is only asked for when the plan is written: what a
// client has to send of a context is known last.
type openWork struct {
	// key is equal for sources that are the same vertex; "" for those that are
	// not compared.
	key  string
	open func(info compose.Info) (compose.State, error)
}

func (w *openWork) inputs() []*node { return nil }
