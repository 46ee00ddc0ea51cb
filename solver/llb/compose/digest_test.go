package compose_test

import (
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

var none compose.Info

// amd64 is who the graphs below are for.
var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// digests are what other clients of the protocol send for the same graphs:
// the first digits of each operation's digest, in any order. A graph that is
// written here must mean, and so be, the same operations, or caches would not
// be shared with what those clients build.
var digests = map[string]struct {
	state func() compose.State
	want  []string
}{
	"image":       {busybox, []string{"e1432b8e2054abb0"}},
	"image attrs": {imageAttrs, []string{"5580f72c9f308d1b"}},
	"local":       {localAttrs, []string{"f85b94a65e1725cd"}},
	"git":         {git(compose.GitSource{URL: "https://example.com/a/b.git", Ref: "main", KeepGitDir: true}), []string{"5d8887b18356b994"}},
	"git subdir":  {git(compose.GitSource{URL: "https://example.com/a/b.git", Ref: "v1", Subdir: "sub/dir"}), []string{"040119bc7116f56a"}},
	"git ssh": {git(compose.GitSource{URL: "git@example.com:a/b.git", Ref: "v1", KnownSSHHosts: "example.com ssh-rsa AAAA\n"}),
		[]string{"c92c5371b76d39b7"}},
	"http":        {httpAttrs, []string{"5e08e6612cfc1736"}},
	"layout":      {layoutAttrs, []string{"eadf6effca894081"}},
	"run":         {runMeta, []string{"e1432b8e2054abb0", "8d373cc0bd20ace4"}},
	"mounts":      {func() compose.State { return runMounts().Output("/out") }, []string{"e1432b8e2054abb0", "23f4d4edb74c56f3", "5c00d629778d7a56"}},
	"mounts root": {func() compose.State { return runMounts().Root() }, []string{"e1432b8e2054abb0", "23f4d4edb74c56f3", "5c00d629778d7a56"}},
	"files":       {fileActions, []string{"e1432b8e2054abb0", "f0c13e1854ad1bdd"}},
	"copy":        {copyAttrs, []string{"e1432b8e2054abb0", "38d844aca8db99d5"}},
	"copy named":  {copyNamed, []string{"e1432b8e2054abb0", "73845b1cbedea4ef", "1136f5c2bc3049ab"}},
	"merge":       {func() compose.State { return compose.Merge([]compose.State{with("/a"), with("/b")}, none) }, []string{"e1432b8e2054abb0", "f7ee356719d5dbe1", "c01a80600443cf3a", "8e6f03dbb76cdc53"}},
	"diff":        {func() compose.State { return compose.Diff(busybox(), with("/a"), none) }, []string{"e1432b8e2054abb0", "f7ee356719d5dbe1", "6a13ae6bd77e83d7"}},
	"same twice": {func() compose.State {
		return compose.Merge([]compose.State{with("/a"), compose.Diff(busybox(), with("/a"), none)}, none)
	}, []string{"e1432b8e2054abb0", "f7ee356719d5dbe1", "6a13ae6bd77e83d7", "3b07436edc94a39f"}},
}

func TestDigests(t *testing.T) {
	for name, c := range digests {
		def, err := compose.Marshal(c.state(), compose.Options{Platform: amd64})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, op := range def.GetDef()[:len(def.GetDef())-1] {
			got = append(got, digest.FromBytes(op).Encoded()[:16])
		}
		want := slices.Clone(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: digests %q, want %q", name, got, want)
		}
	}
}

func busybox() compose.State {
	return compose.Image(compose.ImageSource{Ref: "docker.io/library/busybox:latest"}, none)
}

func imageAttrs() compose.State {
	return compose.Image(compose.ImageSource{Ref: "busybox", ResolveMode: "pull", LayerLimit: 2}, none)
}

func localAttrs() compose.State {
	return compose.Local(compose.LocalSource{
		Name: "context", SessionID: "s", Include: []string{"a", "b"}, Exclude: []string{"c"}, FollowPaths: []string{"d"},
		SharedKeyHint: "k", Differ: "none",
	}, none)
}

func git(src compose.GitSource) func() compose.State {
	return func() compose.State { return compose.Git(src, none) }
}

func httpAttrs() compose.State {
	mode, uid, gid := uint32(0o644), 1, 2
	return compose.HTTP(compose.HTTPSource{
		URL: "https://example.com/x", Checksum: digest.FromString("x"),
		File: compose.FileSource{Filename: "y", Mode: &mode, UID: &uid, GID: &gid},
	}, none)
}

func layoutAttrs() compose.State {
	return compose.Layout(compose.LayoutSource{
		Ref: "name@sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", SessionID: "s", StoreID: "store",
	}, none)
}

func runMeta() compose.State {
	return compose.Run(compose.Exec{
		Args: []string{"sh", "-c", "true"}, Dir: "/w", Env: []string{"A=b"}, User: "u:g", Proxy: &compose.Proxy{HTTP: "p"},
		Mounts: []compose.Mount{{Dest: "/", Source: busybox()}},
	}, none).Root()
}

func runMounts() compose.Process {
	readable := uint32(0o440)
	return compose.Run(compose.Exec{
		Args: []string{"make"}, Network: compose.HostNetwork, Security: compose.Insecure,
		Hosts: []compose.Host{{Name: "h", IP: "1.2.3.4"}}, Ulimits: []compose.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}, ValidExitCodes: []int{0, 1},
		Mounts: []compose.Mount{
			{Dest: "/", Source: busybox()},
			{Dest: "/src", Source: compose.Local(compose.LocalSource{Name: "src", SessionID: "s"}, none), ReadOnly: true},
			{Dest: "/cache", Type: compose.Cache, ID: "id", Sharing: compose.Locked},
			{Dest: "/tmp", Type: compose.Tmpfs, Size: 1 << 20},
			{Dest: "/run/secret", Type: compose.Secret, ID: "sid", UID: 1, GID: 2, Mode: &readable, Optional: true},
			{Type: compose.SSH, ID: "default"},
			{Dest: "/out"},
		},
	}, none)
}

func fileActions() compose.State {
	at := time.Unix(5, 0)
	return compose.Files(busybox(), none,
		compose.Mkdir{Path: "/d", Mode: 0o755, Parents: true}, compose.Mkfile{Path: "/d/f", Mode: 0o600, Data: []byte("x"), Created: &at},
		compose.Remove{Path: "/etc/passwd", AllowMissing: true}, compose.Symlink{Target: "/d/f", Path: "/l"})
}

func copyAttrs() compose.State {
	return compose.Files(compose.Scratch(), none, compose.Copy{
		From: busybox(), Src: "/a*", Dest: "/b/", Wildcard: true, MakeDest: true, FollowLinks: true, Include: []string{"i"}, Exclude: []string{"e"},
		Owner: &compose.Owner{User: &compose.Identity{ID: 1}, Group: &compose.Identity{ID: 2}},
	})
}

func copyNamed() compose.State {
	from := compose.Files(compose.Scratch(), none, compose.Mkfile{Path: "/f", Mode: 0o644})
	return compose.Files(busybox(), none, compose.Copy{
		From: from, Src: "/f", Dest: "/g", Owner: &compose.Owner{User: &compose.Identity{Name: "user"}, Group: &compose.Identity{Name: "group"}},
	})
}

func with(path string) compose.State {
	return compose.Files(busybox(), none, compose.Mkfile{Path: path, Mode: 0o644})
}
