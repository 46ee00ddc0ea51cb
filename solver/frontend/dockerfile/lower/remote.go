package lower

import (
	_ "crypto/sha256" // digests of graphs and of ADD --checksum
	_ "crypto/sha512"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// remoteSource is a source of ADD that is not a path: a repository or a URL.
type remoteSource struct {
	git *GitURL
	url string
}

// classify tells what a source is; nil stands for a path.
func classify(source string) (*remoteSource, error) {
	git, err := ParseGit(source)
	if err != nil {
		return nil, err
	}
	switch {
	case git != nil && !git.LooksLocal:
		return &remoteSource{git: git}, nil
	case strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://"):
		return &remoteSource{url: source}, nil
	}
	return nil, nil
}

// remote copies a repository or a download; only ADD does.
func (c *conversion) remote(step *filesStep, remote *remoteSource) error {
	if remote.git != nil {
		if step.add == nil {
			return errors.New("source can't be a git ref for COPY")
		}
		return c.repository(step, remote.git)
	}
	if step.add == nil {
		return errors.New("source can't be a URL for COPY")
	}
	return c.download(step, remote.url)
}

// repository copies the work tree of a commit. What the URL asks for and what
// the flags ask for must agree.
func (c *conversion) repository(step *filesStep, git *GitURL) error {
	source := git.Source()
	if flag := step.add.KeepGitDir; flag != nil {
		if git.KeepGitDir != nil && *flag != *git.KeepGitDir {
			return errors.New("inconsistent keep-git-dir configuration")
		}
		source.KeepGitDir = *flag
	}
	if flag := step.add.Checksum; flag != "" {
		if git.Checksum != "" && flag != git.Checksum {
			return fmt.Errorf("checksum mismatch %q != %q", flag, git.Checksum)
		}
		source.Checksum = flag
	}
	source.MTime = ""
	from := &node{label: label{name: step.name}, work: &openWork{open: func(info compose.Info) (compose.State, error) {
		return compose.Git(source, info), nil
	}}}
	out := step.copyTo()
	out.Src = "/"
	step.actions = append(step.actions, fileAction{copy: out, from: from})
	return nil
}

// download copies a file behind a URL, named like the end of its path.
func (c *conversion) download(step *filesStep, link string) error {
	name := downloadName(link)
	source := compose.HTTPSource{URL: link, File: compose.FileSource{Filename: name}}
	if step.add.Checksum != "" {
		var err error
		if source.Checksum, err = digest.Parse(step.add.Checksum); err != nil {
			return err
		}
	}
	none := ""
	from := &node{label: label{name: step.name, source: &none}, work: &openWork{open: func(info compose.Info) (compose.State, error) {
		return compose.HTTP(source, info), nil
	}}}
	out := step.copyTo()
	out.Src = path.Join("/", name)
	out.Unpack = step.add.Unpack != nil && *step.add.Unpack
	step.actions = append(step.actions, fileAction{copy: out, from: from})
	return nil
}
