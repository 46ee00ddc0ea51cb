package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/frontend"
)

// defaultProgram runs in images that name none.
const defaultProgram = "/run"

// Names of variables that a frontend reads; wire facts.
const (
	envOption  = "BUILDKIT_FRONTEND_OPT_"
	envSession = "BUILDKIT_SESSION_ID"
	envWorkers = "BUILDKIT_WORKERS"
	envProduct = "BUILDKIT_EXPORTEDPRODUCT"
)

// worker is the JSON of a worker for frontends.
type worker struct {
	ID        string              `json:"id"`
	Labels    map[string]string   `json:"labels"`
	Platforms []ocispecs.Platform `json:"platforms"`
}

// isolated says whether the image does without a network.
func (im *found) isolated() bool {
	yes, err := strconv.ParseBool(im.config.Config.Labels[labelNetwork])
	return err == nil && yes
}

// process is the program of the image with what it is told.
func (im *found) process(info frontend.Info, req frontend.Request) (executor.Process, error) {
	cfg := im.config.Config
	p := executor.Process{Args: cfg.Entrypoint, Cwd: cfg.WorkingDir, Env: slices.Clone(cfg.Env)}
	if len(p.Args) == 0 {
		p.Args = []string{defaultProgram}
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	for i, k := range slices.Sorted(maps.Keys(req.Opts)) {
		p.Env = append(p.Env, envOption+strconv.Itoa(i)+"="+k+"="+req.Opts[k])
	}
	var workers []worker
	for _, w := range info.Workers {
		workers = append(workers, worker{ID: w.ID, Labels: w.Labels, Platforms: w.Platforms})
	}
	data, err := json.Marshal(workers)
	if err != nil {
		return p, fmt.Errorf("describe workers to frontend: %w", err)
	}
	p.Env = append(p.Env, envSession+"="+info.SessionID, envWorkers+"="+string(data), envProduct+"="+info.Product)
	return p, nil
}
