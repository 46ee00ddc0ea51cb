package llb

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// wantInvalid loads def and expects an ErrInvalid whose text contains want.
func wantInvalid(t *testing.T, def *pb.Definition, options Options, want string) {
	t.Helper()
	_, err := Load(t.Context(), def, options)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestInvalidDefinitions(t *testing.T) {
	source := sourceOp("docker-image://a")
	ghost := &pb.Input{Digest: "sha256:" + strings.Repeat("0", 64)}
	for name, test := range map[string]struct {
		want string
		make func(b *builder) *pb.Definition
	}{
		"nil":       {"invalid empty definition", func(*builder) *pb.Definition { return nil }},
		"empty":     {"invalid empty definition", func(b *builder) *pb.Definition { return b.def }},
		"alone":     {"invalid LLB with 1 vertexes", func(b *builder) *pb.Definition { b.add(source); return b.def }},
		"repeated":  {"invalid LLB with 1 vertexes", func(b *builder) *pb.Definition { b.add(source); b.add(source); return b.def }},
		"no inputs": {"invalid LLB with no inputs on last vertex", func(b *builder) *pb.Definition { b.add(source); b.add(&pb.Op{}); return b.def }},
		"op last": {"last vertex must have one input", func(b *builder) *pb.Definition {
			b.add(execOp(b.add(source)))
			return b.def
		}},
		"two results": {"last vertex must have one input", func(b *builder) *pb.Definition {
			in := b.add(source)
			b.add(&pb.Op{Inputs: []*pb.Input{in, in}})
			return b.def
		}},
		"missing result": {"invalid missing input digest sha256:0", func(b *builder) *pb.Definition { b.add(source); return b.done(ghost) }},
		"missing input": {"invalid missing input digest sha256:0", func(b *builder) *pb.Definition {
			b.add(execOp(ghost))
			return b.done(b.add(source))
		}},
		"empty digest":   {"invalid missing input digest ", func(b *builder) *pb.Definition { b.add(execOp(&pb.Input{})); return b.done(b.add(source)) }},
		"negative index": {"invalid input 0 output index -1", func(b *builder) *pb.Definition { in := b.add(source); in.Index = -1; return b.done(in) }},
		"index too high": {"invalid input 0 output index 1", func(b *builder) *pb.Definition { in := b.add(source); in.Index = 1; return b.done(in) }},
		"inner index too high": {"invalid input 0 output index 9", func(b *builder) *pb.Definition {
			in := b.add(source)
			in.Index = 9
			return b.done(b.add(execOp(in)))
		}},
		"pointer inside": {"unknown kind", func(b *builder) *pb.Definition {
			return b.done(b.add(execOp(b.add(&pb.Op{Inputs: []*pb.Input{b.add(source)}}))))
		}},
		"garbage":    {"failed to parse llb proto op", func(b *builder) *pb.Definition { b.def.Def = [][]byte{{0xff}, {0xff}}; return b.def }},
		"no op":      {"unknown kind", func(b *builder) *pb.Definition { return b.done(b.add(&pb.Op{Platform: &pb.Platform{}})) }},
		"future cap": {"requested feature time.travel is not supported by build server, please update kiln", func(b *builder) *pb.Definition { return b.withCap("time.travel") }},
	} {
		t.Run(name, func(t *testing.T) {
			wantInvalid(t, test.make(newBuilder(t)), Options{}, test.want)
		})
	}
}

func (b *builder) withCap(id string) *pb.Definition {
	in := b.add(sourceOp("docker-image://a"))
	b.def.Metadata[in.Digest] = &pb.OpMetadata{Caps: map[string]bool{"source.image": true, id: false}}
	return b.done(in)
}

func TestCapabilities(t *testing.T) {
	list := Caps()
	if len(list) != len(advertised) {
		t.Fatalf("%d capabilities, want %d", len(list), len(advertised))
	}
	for i, c := range list {
		if !c.Enabled || i > 0 && list[i-1].ID >= c.ID {
			t.Errorf("%s: not enabled or out of order", c.ID)
		}
		if c.ID == "file.copy.modestring" || c.ID == "exec.meta.removemountstubs.recursive" {
			t.Errorf("%s is advertised", c.ID)
		}
		load(t, newBuilder(t).withCap(c.ID), Options{})
	}
	load(t, newBuilder(t).withCap("file.copy.modestring"), Options{})
	wantInvalid(t, newBuilder(t).withCap("file.base"), Options{DisabledCaps: map[string]string{"file.base": "too old"}},
		"requested prerelease feature file.base has been disabled on the build server: too old")
	def := newBuilder(t).withCap("source.image")
	pointer := &pb.Op{}
	if err := proto.Unmarshal(def.Def[1], pointer); err != nil {
		t.Fatal(err)
	}
	ops, err := Dump(def)
	if err != nil {
		t.Fatal(err)
	}
	def.Metadata[ops[1].Digest.String()] = &pb.OpMetadata{Caps: map[string]bool{"nope": true}}
	wantInvalid(t, def, Options{Product: "Desktop"}, "feature nope is not supported by build server, please update Desktop")
}

func TestInvalidOps(t *testing.T) {
	exec := func(change func(*pb.ExecOp)) *pb.Op {
		op := execOp()
		op.GetExec().Mounts[0].Input = -1
		change(op.GetExec())
		return op
	}
	mount := func(m *pb.Mount) *pb.Op {
		return exec(func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, m) })
	}
	action := func(a *pb.FileAction) *pb.Op { return fileOp([]*pb.FileAction{a}) }
	mkdir := &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}
	for want, op := range map[string]*pb.Op{
		"invalid source identifier \"alpine\"": sourceOp("alpine"),
		"source identifier with a NUL":         sourceOp("local://a\x00"),

		"invalid exec op with no meta":     exec(func(e *pb.ExecOp) { e.Meta = nil }),
		"invalid exec op with no args":     exec(func(e *pb.ExecOp) { e.Meta.Args = nil }),
		"invalid exec op with no mounts":   exec(func(e *pb.ExecOp) { e.Mounts = nil }),
		"invalid exec op with no rootfs":   exec(func(e *pb.ExecOp) { e.Mounts[0].Dest = "/mnt" }),
		"exec op with 2 root mounts":       mount(&pb.Mount{Dest: "/", Input: -1, Output: -1}),
		"CACHE mount as rootfs":            exec(func(e *pb.ExecOp) { e.Mounts[0].MountType, e.Mounts[0].CacheOpt = pb.MountType_CACHE, &pb.CacheOpt{} }),
		"unknown network mode 9":           exec(func(e *pb.ExecOp) { e.Network = 9 }),
		"invalid security mode 9":          exec(func(e *pb.ExecOp) { e.Security = 9 }),
		"argument with a NUL":              exec(func(e *pb.ExecOp) { e.Meta.Args = []string{"a\x00b"} }),
		"environment variable with a NUL":  exec(func(e *pb.ExecOp) { e.Meta.Env = []string{"a=\x00b"} }),
		"process setting with a NUL":       exec(func(e *pb.ExecOp) { e.Meta.Cwd = "\x00" }),
		"secret environment variable with": exec(func(e *pb.ExecOp) { e.Secretenv = []*pb.SecretEnv{{Name: "\x00"}} }),
		"mount 1 with no destination":      mount(&pb.Mount{Input: -1, Output: -1}),
		"invalid mount input index 3":      mount(&pb.Mount{Dest: "/m", Input: 3, Output: -1}),
		"invalid mount input index -2":     mount(&pb.Mount{Dest: "/m", Input: -2, Output: -1}),
		"invalid output index 2":           mount(&pb.Mount{Dest: "/m", Input: -1, Output: 2}),
		"index 0: it is named twice":       mount(&pb.Mount{Dest: "/m", Input: -1}),
		"mount path with a NUL":            mount(&pb.Mount{Dest: "/m", Input: -1, Output: -1, Selector: "\x00"}),
		"unknown content cache mode 9":     mount(&pb.Mount{Dest: "/m", Input: -1, Output: -1, ContentCache: 9}),
		"missing cache mount options":      mount(&pb.Mount{Dest: "/m", Input: -1, MountType: pb.MountType_CACHE}),
		"unknown sharing mode 9":           mount(&pb.Mount{Dest: "/m", Input: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{Sharing: 9}}),
		"tmpfs mount /m with size -1":      mount(&pb.Mount{Dest: "/m", Input: -1, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: -1}}),
		"invalid secret mount options":     mount(&pb.Mount{Dest: "/m", Input: -1, MountType: pb.MountType_SECRET}),
		"invalid ssh mount options":        mount(&pb.Mount{Dest: "/m", Input: -1, MountType: pb.MountType_SSH}),
		"mount /m of unknown type 9":       mount(&pb.Mount{Dest: "/m", Input: -1, MountType: 9}),

		"invalid file op with no actions":         fileOp(nil),
		"file action 0 of unknown kind":           action(&pb.FileAction{Input: -1, SecondaryInput: -1}),
		"invalid file action input index 0":       action(&pb.FileAction{SecondaryInput: -1, Action: mkdir}),
		"invalid file action secondary input ind": action(&pb.FileAction{Input: -1, SecondaryInput: 1, Action: mkdir}),
		"invalid output index 1":                  action(&pb.FileAction{Input: -1, SecondaryInput: -1, Output: 1, Action: mkdir}),
		"mkdir path with a NUL":                   action(&pb.FileAction{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "\x00"}}}),
		"mkfile path with a NUL":                  action(&pb.FileAction{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{Path: "\x00"}}}),
		"copy path with a NUL":                    action(&pb.FileAction{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "\x00"}}}),
		"rm path with a NUL":                      action(&pb.FileAction{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "\x00"}}}),
		"symlink path with a NUL":                 action(&pb.FileAction{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{Oldpath: "\x00"}}}),
		"invalid user input index 5": action(&pb.FileAction{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{
			Path: "/d", Owner: &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "a", Input: 5}}}},
		}}}),

		"invalid merge op with no inputs": mergeOp(),
		"invalid merge input index -1":    {Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: -1}}}}},
		"nil lower or upper input":        {Op: &pb.Op_Diff{Diff: &pb.DiffOp{}}},
		"invalid diff input index 0":      {Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: -1}, Upper: &pb.UpperDiffInput{}}}},
		"invalid build input \"x\"":       {Op: &pb.Op_Build{Build: &pb.BuildOp{Inputs: map[string]*pb.BuildInput{"x": {}}}}},
		"passthrough op with no id":       {Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{}}},
		"passthrough op with no outputs":  {Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x"}}},
		"passthrough output input index":  {Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{0}}}},
	} {
		t.Run(want, func(t *testing.T) {
			b := newBuilder(t)
			wantInvalid(t, b.done(b.add(op)), Options{}, want)
		})
	}
}

// Operations that only miss what Load cannot see on the wire.
func TestNilOneofs(t *testing.T) {
	for want, op := range map[string]*pb.Op{
		"nil source":      {Op: &pb.Op_Source{}},
		"nil exec":        {Op: &pb.Op_Exec{}},
		"nil file":        {Op: &pb.Op_File{}},
		"nil build":       {Op: &pb.Op_Build{}},
		"nil merge":       {Op: &pb.Op_Merge{}},
		"nil diff":        {Op: &pb.Op_Diff{}},
		"nil passthrough": {Op: &pb.Op_Passthrough{}},
	} {
		if _, err := validateOp(op, DefaultLimits()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, op := range []*pb.FileAction{
		{Action: &pb.FileAction_Copy{}}, {Action: &pb.FileAction_Mkfile{}}, {Action: &pb.FileAction_Mkdir{}},
		{Action: &pb.FileAction_Symlink{}}, {Action: &pb.FileAction_Rm{}},
	} {
		if err := validateAction(0, op, 0); err == nil {
			t.Errorf("%T without content is accepted", op.Action)
		}
	}
}

// Mounts other than binds have no output, whatever the field says.
func TestOutputFieldOfOtherMounts(t *testing.T) {
	b := newBuilder(t)
	op := execOp(b.add(sourceOp("docker-image://a")))
	exec := op.GetExec()
	exec.Mounts = append(exec.Mounts,
		&pb.Mount{Dest: "/s", Input: -1, MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "s"}},
		&pb.Mount{Dest: "/a", Input: -1, MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{}},
		&pb.Mount{Dest: "/c", Input: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{}},
		&pb.Mount{Dest: "/o", Input: -1, Output: 1},
	)
	in := b.add(op)
	in.Index = 1
	if v := load(t, b.done(in), Options{}).Result().Vertex; v.Outputs != 2 {
		t.Errorf("%d outputs", v.Outputs)
	}
}

func TestLimits(t *testing.T) {
	make3 := func() *pb.Definition {
		b := newBuilder(t)
		in := b.add(sourceOp("docker-image://a"))
		b.def.Metadata[in.Digest] = &pb.OpMetadata{Description: map[string]string{"a": "bc"}}
		b.def.Source = &pb.Source{Locations: map[string]*pb.Locations{in.Digest: {Locations: []*pb.Location{{}, {}, {}}}}}
		return b.done(b.add(execOp(in, in, in)))
	}
	load(t, make3(), Options{})
	for want, limits := range map[string]Limits{
		"invalid definition with 3 ops":  {Ops: 2},
		"invalid op of ":                 {OpBytes: 10},
		"too many elements":              {Elements: 10},
		"invalid op with 3 inputs":       {Inputs: 2},
		"a chain of more than 1 vertex":  {Depth: 1},
		"3 bytes, at most 2 are allowed": {MetadataBytes: 2},
		"more than 2 ranges":             {Locations: 2},
	} {
		wantInvalid(t, make3(), Options{Limits: limits}, want)
	}
}

// Two bytes for an empty message must not become hundreds in memory.
func TestManyEmptyMessages(t *testing.T) {
	b := newBuilder(t)
	b.def.Def = [][]byte{bytes.Repeat([]byte{0x0a, 0}, 4<<20), {0x0a, 0}}
	wantInvalid(t, b.def, Options{}, "too many elements")

	// Definitions within definitions, through BuildOp.def and so on.
	var nested []byte
	for range scanDepth {
		nested = protoBytes(3, protoBytes(2, protoBytes(3, nested)))
	}
	b.def.Def = [][]byte{protoBytes(5, protoBytes(3, nested)), {0x0a, 0}}
	wantInvalid(t, b.def, Options{}, "nested too deeply")
}

// protoBytes encodes one length-delimited field.
func protoBytes(number int, content []byte) []byte {
	out := []byte{byte(number<<3 | 2)}
	n := len(content)
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(append(out, byte(n)), content...)
}
