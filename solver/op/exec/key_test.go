package exec

import (
	"errors"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func command(change func(*pb.ExecOp)) *pb.ExecOp {
	op := &pb.ExecOp{
		Meta:   &pb.Meta{Args: []string{"make"}, Cwd: "/src", ExtraHosts: []*pb.HostIP{{Host: "db", IP: "10.0.0.1"}}},
		Mounts: []*pb.Mount{{Dest: "/", Input: 0, Output: 0}},
	}
	if change != nil {
		change(op)
	}
	return op
}

func definitionOf(t *testing.T, op *pb.ExecOp, p ocispecs.Platform) string {
	t.Helper()
	before := proto.CloneOf(op)
	o, err := New(Config{}, Vertex{Op: op, Inputs: 2, Outputs: 1, Platform: p})
	if err != nil {
		t.Fatal(err)
	}
	d, err := o.definition()
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(before, op) {
		t.Error("the key changed the op")
	}
	return d.String()
}

func TestDefinitionKey(t *testing.T) {
	amd64 := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	base := definitionOf(t, command(nil), amd64)
	same := map[string]func(*pb.ExecOp){
		"proxy":              func(op *pb.ExecOp) { op.Meta.ProxyEnv = &pb.ProxyEnv{HttpProxy: "http://p"} },
		"address of a host":  func(op *pb.ExecOp) { op.Meta.ExtraHosts[0].IP = "10.9.9.9" },
		"selector of a root": func(op *pb.ExecOp) { op.Mounts[0].Selector = "sub" },
	}
	for name, change := range same {
		if definitionOf(t, command(change), amd64) != base {
			t.Errorf("%s changes the key", name)
		}
	}
	differ := map[string]func(*pb.ExecOp){
		"arguments":       func(op *pb.ExecOp) { op.Meta.Args = []string{"make", "all"} },
		"environment":     func(op *pb.ExecOp) { op.Meta.Env = []string{"A=1"} },
		"directory":       func(op *pb.ExecOp) { op.Meta.Cwd = "/" },
		"name of a host":  func(op *pb.ExecOp) { op.Meta.ExtraHosts[0].Host = "dx" },
		"network":         func(op *pb.ExecOp) { op.Network = pb.NetMode_NONE },
		"another mount":   func(op *pb.ExecOp) { op.Mounts = append(op.Mounts, &pb.Mount{Dest: "/m", Input: 1, Output: -1}) },
		"read-only root":  func(op *pb.ExecOp) { op.Mounts[0].Readonly = true },
		"secret variable": func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{ID: "t", Name: "T"}} },
	}
	seen := map[string]string{base: "base"}
	for name, change := range differ {
		d := definitionOf(t, command(change), amd64)
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[d] = name
	}
	if definitionOf(t, command(nil), ocispecs.Platform{OS: "linux", Architecture: "arm64"}) == base {
		t.Error("platforms share a key")
	}
}

func TestCacheMountsInKeys(t *testing.T) {
	p := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	with := func(id string, sharing pb.CacheSharingOpt) string {
		return definitionOf(t, command(func(op *pb.ExecOp) {
			op.Mounts = append(op.Mounts, &pb.Mount{Dest: "/cache", Input: -1, Output: -1, MountType: pb.MountType_CACHE,
				CacheOpt: &pb.CacheOpt{ID: id, Sharing: sharing}})
		}), p)
	}
	if with("other", pb.CacheSharingOpt_SHARED) != with("another", pb.CacheSharingOpt_SHARED) {
		t.Error("ids that people choose count in the key")
	}
	if with("/cache", pb.CacheSharingOpt_SHARED) == with("other", pb.CacheSharingOpt_SHARED) {
		t.Error("the default id does not count, which other builders' caches rely on")
	}
}

func TestInputKeys(t *testing.T) {
	tests := []struct {
		name    string
		mount   *pb.Mount
		content bool
		refused bool
	}{
		{"root", &pb.Mount{Dest: "/", Output: 0}, false, false},
		{"read-only", &pb.Mount{Dest: "/src", Readonly: true, Output: -1}, true, false},
		{"read-only part", &pb.Mount{Dest: "/src", Selector: "a", Readonly: true, Output: 1}, true, false},
		{"dropped", &pb.Mount{Dest: "/src", Output: -1}, true, false},
		{"whole, comes out", &pb.Mount{Dest: "/src", Output: 1}, true, false},
		{"part, comes out", &pb.Mount{Dest: "/src", Selector: "a", Output: 1}, false, false},
		{"off", &pb.Mount{Dest: "/src", Readonly: true, Output: -1, ContentCache: pb.MountContentCache_OFF}, false, false},
		{"on for the root", &pb.Mount{Dest: "/", Output: 0, ContentCache: pb.MountContentCache_ON}, true, false},
		{"on where unsafe", &pb.Mount{Dest: "/src", Selector: "a", Output: 1, ContentCache: pb.MountContentCache_ON}, false, true},
		{"tmpfs", &pb.Mount{Dest: "/t", MountType: pb.MountType_TMPFS}, false, false},
	}
	for _, tt := range tests {
		keys, err := inputKeys([]*pb.Mount{tt.mount}, 1)
		if (err != nil) != tt.refused || err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if err == nil && (keys[0].Content != nil) != tt.content {
			t.Errorf("%s: by content %v, want %v", tt.name, keys[0].Content != nil, tt.content)
		}
	}
}

func TestTopmost(t *testing.T) {
	got := topmost([]string{"/a/b", "/foo", "/a", "/foobar", "/a"})
	if !slices.Equal(got, []string{"/a", "/foo", "/foobar"}) {
		t.Errorf("got %q", got)
	}
}

func TestNewRefusesWhatItCannotDo(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*pb.ExecOp)
		kind   error
	}{
		"input": {func(op *pb.ExecOp) { op.Mounts[0].Input = 7 }, errdefs.ErrInvalidArgument},
	} {
		if _, err := New(Config{}, Vertex{Op: command(tt.change), Inputs: 1, Outputs: 1}); !errors.Is(err, tt.kind) {
			t.Errorf("%s: error %v, want %v", name, err, tt.kind)
		}
	}
}
