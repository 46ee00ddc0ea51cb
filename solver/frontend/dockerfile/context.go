package dockerfile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// mainContext is what COPY reads from and where the Dockerfile is.
type mainContext struct {
	// state is the context unless it is a directory of the client.
	state *compose.State
	// dockerfile is where the Dockerfile is, unless that is a directory of the
	// client.
	dockerfile *compose.State
	// localName and dockerfileName are the client's names of the directories.
	localName, dockerfileName string
	filename                  string
}

// remoteFile is the name that a downloaded context is stored under.
const remoteFile = "context"

// openMain finds out what the main context is.
func (r *request) openMain(ctx context.Context) error {
	raw := r.opts.raw
	r.main = mainContext{localName: "context", dockerfileName: "dockerfile", filename: r.opts.filename}
	key := "context"
	if name, ok := raw[optContextKey]; ok {
		key = name
	}
	name, localDockerfile := raw[optDockerfileKey]
	if localDockerfile {
		r.main.dockerfileName = name
	}
	if err := r.openRemote(ctx, raw[key]); err != nil {
		return err
	}
	if localDockerfile {
		r.main.dockerfile = nil
	}
	if sub, ok := raw[optSubdir]; ok && r.main.state != nil {
		inside := compose.Files(compose.Scratch(), compose.Info{}, compose.Copy{
			From: *r.main.state, Src: path.Join("/", sub), Dest: "/", ContentsOnly: true,
		})
		r.main.state = &inside
	}
	return nil
}

// openRemote opens a context that is a URL or a graph from the client.
func (r *request) openRemote(ctx context.Context, link string) error {
	git, err := lower.ParseGit(link)
	if err != nil {
		return err
	}
	if git != nil {
		return r.openGit(link, git)
	}
	if strings.HasPrefix(link, "http://") || strings.HasPrefix(link, "https://") {
		return r.openHTTP(ctx, link)
	}
	for _, input := range []struct {
		name string
		to   **compose.State
	}{{r.main.dockerfileName, &r.main.dockerfile}, {"context", &r.main.state}} {
		def, ok := r.inputs[input.name]
		if !ok {
			continue
		}
		state, err := compose.Import(ctx, def)
		if err != nil {
			return fmt.Errorf("failed to get frontend inputs: %w", err)
		}
		*input.to = &state
	}
	return nil
}

// openGit makes a repository the context. With a time to write into images,
// files get the time of their commit, so that two checkouts do not differ.
func (r *request) openGit(link string, git *lower.GitURL) error {
	source := git.Source()
	if keep, err := strconv.ParseBool(r.opts.buildArgs["BUILDKIT_CONTEXT_KEEP_GIT_DIR"]); err == nil && keep {
		source.KeepGitDir = true
	}
	if source.MTime == "" && r.opts.buildArgs[argEpoch] != "" {
		source.MTime = "commit"
	}
	state := compose.Git(source, compose.Info{Name: "[internal] load git source " + link})
	r.main.state, r.main.dockerfile = &state, &state
	return state.Err()
}

// openHTTP downloads a context: an archive, or else the Dockerfile itself.
func (r *request) openHTTP(ctx context.Context, link string) error {
	state := compose.HTTP(
		compose.HTTPSource{URL: link, File: compose.FileSource{Filename: remoteFile}},
		compose.Info{Name: "[internal] load remote build context"})
	_, ref, err := r.solve(ctx, state)
	if err != nil {
		return fmt.Errorf("failed to resolve httpcontext: %w", err)
	}
	if ref == nil {
		return errors.New("failed to read downloaded context: nothing was downloaded")
	}
	start, err := ref.ReadFile(ctx, remoteFile, 0, 1024)
	if err != nil {
		return fmt.Errorf("failed to read downloaded context: %w", err)
	}
	if isArchive(start) {
		state = compose.Files(compose.Scratch(), compose.Info{}, compose.Copy{
			From: state, Src: "/" + remoteFile, Dest: "/", Unpack: true,
		})
	} else {
		r.main.filename = remoteFile
	}
	r.main.state, r.main.dockerfile = &state, &state
	return nil
}

// isArchive tells whether a file that starts like this can be unpacked.
func isArchive(start []byte) bool {
	for _, magic := range []string{"BZh", "\x1F\x8B\x08", "\xFD7zXZ\x00", "\x28\xB5\x2F\xFD"} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return true
		}
	}
	_, err := tar.NewReader(bytes.NewReader(start)).Next()
	return err == nil
}

// Main implements lower.Resolver.
func (r *request) Main(ctx context.Context, follow []string) (compose.State, error) {
	if r.main.state != nil {
		return *r.main.state, nil
	}
	exclude, err := r.Ignored(ctx)
	if err != nil {
		return compose.State{}, fmt.Errorf("failed to read dockerignore patterns: %w", err)
	}
	return compose.Local(compose.LocalSource{
		Name: r.main.localName, SessionID: r.opts.session(r.main.localName, r.info), Exclude: exclude, FollowPaths: follow,
		SharedKeyHint: r.main.localName,
	}, compose.Info{Name: "[internal] load build context"}), nil
}
