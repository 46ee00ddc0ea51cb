package example

import "github.com/kilnbuild/kiln/solver/llb/compose"

// Component is one program of the series.
type Component struct {
	// Name is the name of its flag and of its directory of sources.
	Name string
	// Repo is a repository without the scheme.
	Repo string
	// Ref is the branch, tag or commit that is built unless a flag says so.
	Ref string
	// Compile is run in the sources; it writes programs to /out.
	Compile []string
	// Env is added to that of the toolchain.
	Env []string
}

// Components are the programs kiln needs on a machine: itself, a runtime, and
// the shim through which containerd starts the runtime.
func Components() []Component {
	return []Component{
		{
			Name: "kiln", Repo: "github.com/kilnbuild/kiln", Ref: "main", Env: []string{"CGO_ENABLED=0"},
			Compile: []string{"go", "build", "-trimpath", "-o", "/out/", "./cmd/kiln", "./cmd/kilnd"},
		},
		{
			// Its first steps in a container are C.
			Name: "runc", Repo: "github.com/opencontainers/runc", Ref: "v1.3.0", Env: []string{"CGO_ENABLED=1"},
			Compile: []string{"go", "build", "-trimpath", "-tags", "netgo,osusergo", "-ldflags", "-extldflags -static", "-o", "/out/runc", "."},
		},
		{
			Name: "shim", Repo: "github.com/containerd/containerd", Ref: "v2.1.0", Env: []string{"CGO_ENABLED=0"},
			Compile: []string{"go", "build", "-trimpath", "-tags", "no_grpc", "-o", "/out/containerd-shim-runc-v2", "./cmd/containerd-shim-runc-v2"},
		},
	}
}

// toolPath is where the toolchain has its programs: a graph knows nothing of
// the environment that an image comes with.
const toolPath = "PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exec is a command of the toolchain with the component's environment.
func (c Component) Exec(dir string, args []string, mounts ...compose.Mount) compose.Exec {
	return compose.Exec{
		Args: args, Dir: dir, Env: append([]string{toolPath, "HOME=/root"}, c.Env...), Mounts: mounts,
	}
}

// CompileCaches are mounts for what the Go tools keep between builds. It is
// found again by the next build, and is no part of any result.
func CompileCaches() []compose.Mount {
	return []compose.Mount{
		{Dest: "/root/.cache/go-build", Type: compose.Cache, ID: "go-build"},
		{Dest: "/go/pkg/mod", Type: compose.Cache, ID: "go-mod"},
	}
}
