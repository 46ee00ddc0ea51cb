package compose

import (
	"slices"
	"testing"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func TestRunAll(t *testing.T) {
	base, tool := image("alpine"), image("busybox")
	mode := uint32(0o440)
	mounts := []Mount{
		{Type: SSH},
		{Dest: "/secret", Type: Secret, ID: "s", UID: 1, GID: 2, Mode: &mode, Optional: true},
		{Dest: "/z", Source: tool, Selector: "/bin", ReadOnly: true, Content: ContentOn},
		{Dest: "/tmp", Type: Tmpfs, Size: 64},
		{Dest: "/cache", Type: Cache, Source: tool, Sharing: Locked},
		{Dest: "/out"},
		{Dest: "/drop", Source: tool, NoOutput: true},
		{Dest: "/", Source: base},
		{Dest: "/agent", Type: SSH, ID: "a", UID: 3},
		{Dest: "/plain", Type: Secret},
	}
	given := slices.Clone(mounts)
	env := []string{"A=1"}
	process := Run(Exec{
		Args: []string{"make"}, Env: env, Dir: "/w", User: "u", Hostname: "h", CgroupParent: "c",
		Network: HostNetwork, Security: Insecure, Mounts: mounts,
		Hosts: []Host{{"n", "1.2.3.4"}}, Ulimits: []Ulimit{{"nofile", 1, 2}},
		Proxy:     &Proxy{HTTP: "a", HTTPS: "b", FTP: "c", No: "d", All: "e"},
		SecretEnv: []SecretEnv{{ID: "i", Name: "N", Optional: true}, {Name: "M"}},
		Devices:   []Device{{"v/c=d", true}}, ValidExitCodes: []int{0, 3},
	}, Info{Resources: &Resources{Memory: 1}})
	op, meta := lastOp(t, process.Root())
	wantMessage(t, &pb.ExecOp{
		Meta: &pb.Meta{
			Args: []string{"make"}, Env: []string{"A=1", "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"}, Cwd: "/w", User: "u",
			ProxyEnv:   &pb.ProxyEnv{HttpProxy: "a", HttpsProxy: "b", FtpProxy: "c", NoProxy: "d", AllProxy: "e"},
			ExtraHosts: []*pb.HostIP{{Host: "n", IP: "1.2.3.4"}}, Hostname: "h", Ulimit: []*pb.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
			CgroupParent: "c", RemoveMountStubsRecursive: true, ValidExitCodes: []int32{0, 3},
		},
		Mounts: []*pb.Mount{
			{Input: 0, Dest: "/", Output: 0},
			{Input: 1, Dest: "/cache", Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "/cache", Sharing: pb.CacheSharingOpt_LOCKED}},
			{Input: 1, Dest: "/drop", Output: -1},
			{Input: -1, Dest: "/out", Output: 1},
			{Input: -1, Dest: "/tmp", Output: -1, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: 64}},
			{Input: 1, Dest: "/z", Output: -1, Selector: "/bin", Readonly: true, ContentCache: pb.MountContentCache_ON},
			{Input: -1, Dest: "/secret", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "s", Uid: 1, Gid: 2, Mode: 0o440, Optional: true}},
			{Input: -1, Dest: "/plain", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "/plain", Mode: 0o400}},
			{Input: -1, Dest: "/run/buildkit/ssh_agent.0", MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{Mode: 0o600}},
			{Input: -1, Dest: "/agent", MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{ID: "a", Uid: 3, Mode: 0o600}},
		},
		Network: pb.NetMode_HOST, Security: pb.SecurityMode_INSECURE,
		Secretenv:  []*pb.SecretEnv{{ID: "i", Name: "N", Optional: true}, {ID: "M", Name: "M"}},
		CdiDevices: []*pb.CDIDevice{{Name: "v/c=d", Optional: true}},
	}, op.GetExec())
	if len(op.Inputs) != 2 {
		t.Errorf("%d inputs, want each once", len(op.Inputs))
	}
	wantCaps(t, meta, "exec.meta.base", "exec.meta.setsdefaultpath", "exec.meta.network", "exec.meta.security", "exec.meta.cgroup.parent",
		"exec.meta.ulimit", "exec.meta.proxyenv", "exec.meta.cdi", "exec.meta.linux.resources", "exec.validexitcode", "exec.secretenv",
		"exec.mount.bind", "exec.mount.bind.readwrite-nooutput", "exec.mount.cache", "exec.mount.cache.sharing", "exec.mount.cache.content",
		"exec.mount.selector", "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.mount.secret", "exec.mount.ssh")

	if process.Output("/z") != tool {
		t.Error("a read-only mount must yield what it shows")
	}
	if _, graph := marshalled(t, process.Output("/out")); graph.Result().Index != 1 {
		t.Errorf("output %d", graph.Result().Index)
	}
	for i := range mounts {
		if mounts[i].Dest != given[i].Dest {
			t.Error("the caller's mounts were changed")
		}
	}
	if len(env) != 1 {
		t.Error("the caller's environment was changed")
	}
}

func TestRunPlain(t *testing.T) {
	exec := Exec{Args: []string{"true"}, Mounts: []Mount{{Dest: "/", Source: image("alpine")}}}
	op, meta := lastOp(t, Run(exec, Info{}).Root())
	wantMessage(t, &pb.Meta{Args: []string{"true"}, Cwd: "/", RemoveMountStubsRecursive: true}, op.GetExec().Meta)
	wantCaps(t, meta, "exec.meta.base", "exec.meta.setsdefaultpath", "exec.mount.bind")
}

// A builder that does not set PATH gets it set.
func TestRunOnOldBuilder(t *testing.T) {
	old := testOptions
	old.Supports = func(string) bool { return false }
	for _, test := range []struct{ env, want []string }{
		{nil, []string{defaultPath}},
		{[]string{"PATH=/x"}, []string{"PATH=/x"}},
	} {
		exec := Exec{Args: []string{"true"}, Env: test.env, Mounts: []Mount{{Dest: "/", Source: image("alpine")}}}
		def, err := Marshal(Run(exec, Info{}).Root(), old)
		if err != nil {
			t.Fatal(err)
		}
		state, err := Import(t.Context(), def)
		if err != nil {
			t.Fatal(err)
		}
		op, meta := lastOp(t, state)
		if !slices.Equal(op.GetExec().Meta.Env, test.want) {
			t.Errorf("env %q", op.GetExec().Meta.Env)
		}
		wantCaps(t, meta, "exec.meta.base", "exec.mount.bind")
	}
}

// An agent does not override a variable that is set.
func TestRunKeepsAgentVariable(t *testing.T) {
	exec := Exec{Args: []string{"true"}, Env: []string{"SSH_AUTH_SOCK=/x"}, Mounts: []Mount{{Dest: "/"}, {Type: SSH}, {Type: SSH, ID: "b"}}}
	op, _ := lastOp(t, Run(exec, Info{}).Root())
	if env := op.GetExec().Meta.Env; len(env) != 1 {
		t.Errorf("env %q", env)
	}
	if dest := op.GetExec().Mounts[2].Dest; dest != "/run/buildkit/ssh_agent.1" {
		t.Errorf("second agent at %s", dest)
	}
}
