package dockerfile

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// ignoreFile is the ignore file of the main context: the one beside the
// Dockerfile, or else that of the context.
type ignoreFile struct {
	mu       sync.Mutex
	read     bool
	patterns []string
	err      error
}

// set takes the text of an ignore file.
func (f *ignoreFile) set(name string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parse(name, data)
}

// parse reads the text; f.mu is held. An error stays, so that all platforms
// fail alike.
func (f *ignoreFile) parse(name string, data []byte) {
	f.read = true
	if f.patterns, f.err = readPatterns(data); f.err != nil {
		f.err = fmt.Errorf("failed parsing %s: %w", name, f.err)
	}
}

// readPatterns reads patterns as every client of an ignore file does: comments
// at the start of a line, blanks trimmed, paths cleaned.
func readPatterns(data []byte) ([]string, error) { return ignorefile.ReadAll(bytes.NewReader(data)) }

// Ignored implements lower.Resolver. Only directories of the client have an
// ignore file.
func (r *request) Ignored(ctx context.Context) ([]string, error) {
	if r.main.state != nil {
		return nil, nil
	}
	f := &r.ignore
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.read {
		data, err := r.readLocal(ctx, compose.LocalSource{
			Name: r.main.localName, SharedKeyHint: r.main.localName + "-" + ignoreName,
		}, "[internal] load "+ignoreName)
		if err != nil {
			return nil, err
		}
		f.parse(ignoreName, data)
	}
	return f.patterns, f.err
}

// readLocal reads the ignore file of a directory of the client; nil if it has
// none.
func (r *request) readLocal(ctx context.Context, source compose.LocalSource, name string) ([]byte, error) {
	source.SessionID = r.opts.session(source.Name, r.info)
	source.FollowPaths, source.Differ = []string{ignoreName}, "none"
	def, err := r.marshal(compose.Local(source, compose.Info{Name: name}))
	if err != nil {
		return nil, err
	}
	result, err := r.bridge.Solve(ctx, frontend.SolveRequest{Definition: def, Evaluate: true})
	if errdefs.IsNotFound(err) {
		// The client has no such directory. That matters only if something is
		// copied from it, and is told then.
		return nil, nil
	}
	if err != nil || result.Ref == nil {
		return nil, err
	}
	data, _ := result.Ref.ReadFile(ctx, ignoreName, 0, 0) // there may be none
	return data, nil
}
