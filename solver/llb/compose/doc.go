// Package compose writes build graphs: the opposite of package llb, which
// reads them. Frontends and examples use it.
//
// Its promise: what Marshal returns passes llb.Load, asks for exactly the
// capabilities that it needs, and is the same, byte for byte, for the same
// graph and options. The one exception is a Local source without a session,
// which is made distinct on purpose; see Options.LocalUnique.
//
// # Vocabulary
//
//   - State: the value of one output of one operation, a file system. The
//     zero State is scratch, the empty one.
//   - Info: what is said of an operation without changing what it does, and
//     the platform it is for.
//   - Process: a run command with its outputs, one for each writable bind
//     mount.
//
// # A scenario
//
//	base := compose.Image(compose.ImageSource{Ref: "golang:1.26"}, compose.Info{})
//	code := compose.Local(compose.LocalSource{Name: "context", SessionID: id}, compose.Info{})
//	build := compose.Run(compose.Exec{
//		Args: []string{"go", "build", "-o", "/out/app", "."},
//		Dir:  "/src",
//		Mounts: []compose.Mount{
//			{Dest: "/", Source: base},
//			{Dest: "/src", Source: code, ReadOnly: true},
//			{Dest: "/out"},
//			{Dest: "/root/.cache", Type: compose.Cache, ID: "go"},
//		},
//	}, compose.Info{Name: "compile"})
//	def, err := compose.Marshal(build.Output("/out"), compose.Options{})
//
// # Errors
//
// Building never fails: a State that cannot be made carries its error, all
// that is built on it does too, and Marshal returns it.
//
// # Concurrency
//
// States are immutable. They may be shared and marshalled by any number of
// goroutines; slices and maps that were passed in must not be changed after.
//
// # What it does not do
//
// It resolves nothing: no tags, no branches, no paths against a working
// directory.
package compose
