package interop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/kilnbuild/kiln/solver/llb/compose"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/errdefs"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/test/daemon"
)

func busybox(t *testing.T) compose.State {
	return compose.Image(compose.ImageSource{Ref: base(t, "busybox")}, compose.Info{})
}

// failing is a step that a test looks into.
func failing(t *testing.T, script string) compose.State {
	return compose.Run(compose.Exec{
		Args: []string{"sh", "-c", script}, Env: []string{"TEST=" + t.Name()}, Mounts: []compose.Mount{{Dest: "/", Source: busybox(t)}},
	}, compose.Info{}).Root()
}

// gatewayBuild is a build that the test itself drives, as a debugger would.
type gatewayBuild struct {
	gateway.LLBBridgeClient
	t    *testing.T
	ctx  context.Context
	done chan error
	// leave breaks the client's connection off.
	leave func()
}

// drive opens a build and waits until it can be talked to.
func drive(t *testing.T, d *daemon.Daemon, entitlements ...string) *gatewayBuild {
	t.Helper()
	conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	id := strings.ReplaceAll(t.Name(), "/", "-") + fmt.Sprint(time.Now().UnixNano())
	b := &gatewayBuild{
		LLBBridgeClient: gateway.NewLLBBridgeClient(conn), t: t, done: make(chan error, 1), leave: cancel,
		ctx: metadata.AppendToOutgoingContext(ctx, "buildkit-controlapi-buildid", id),
	}
	go func() {
		_, err := control.NewControlClient(conn).Solve(ctx, &control.SolveRequest{Ref: id, Entitlements: entitlements})
		b.done <- err
	}()
	t.Cleanup(func() {
		cancel()
		conn.Close()
	})
	if _, err := b.Ping(b.ctx, &gateway.PingRequest{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// end returns nothing and waits for the build to end well.
func (b *gatewayBuild) end() {
	b.t.Helper()
	if _, err := b.Return(b.ctx, &gateway.ReturnRequest{Result: &gateway.Result{}}); err != nil {
		b.t.Fatal(err)
	}
	if err := <-b.done; err != nil {
		b.t.Fatal(err)
	}
}

// solve hands a graph in and returns its id.
func (b *gatewayBuild) solve(st compose.State, evaluate bool) (string, error) {
	b.t.Helper()
	def, err := compose.Marshal(st, compose.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.Solve(b.ctx, &gateway.SolveRequest{
		Definition: def, Evaluate: evaluate, AllowResultReturn: true, AllowResultArrayRef: true,
	})
	return resp.GetResult().GetRef().GetId(), err
}

// process is what became of a process.
type process struct {
	stdout bytes.Buffer
	exit   *gateway.ExitMessage
	order  []string
}

// processes runs processes over one stream.
type processes struct {
	t      *testing.T
	stream gateway.LLBBridge_ExecProcessClient
	mu     sync.Mutex
	all    map[string]*process
	change *sync.Cond
	err    error
}

func (b *gatewayBuild) processes() *processes {
	b.t.Helper()
	stream, err := b.ExecProcess(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	ps := &processes{t: b.t, stream: stream, all: map[string]*process{}}
	ps.change = sync.NewCond(&ps.mu)
	go ps.receive()
	return ps
}

func (ps *processes) receive() {
	for {
		msg, err := ps.stream.Recv()
		ps.mu.Lock()
		if err != nil {
			ps.err = err
			ps.change.Broadcast()
			ps.mu.Unlock()
			return
		}
		p := ps.all[msg.GetProcessID()]
		switch in := msg.GetInput().(type) {
		case *gateway.ExecMessage_Started:
			p.order = append(p.order, "started")
		case *gateway.ExecMessage_File:
			p.stdout.Write(in.File.GetData())
			if in.File.GetEOF() {
				p.order = append(p.order, fmt.Sprintf("eof%d", in.File.GetFd()))
			}
		case *gateway.ExecMessage_Exit:
			p.exit = in.Exit
			p.order = append(p.order, "exit")
		case *gateway.ExecMessage_Done:
			p.order = append(p.order, "done")
		}
		ps.change.Broadcast()
		ps.mu.Unlock()
	}
}

func (ps *processes) send(id string, msg *gateway.ExecMessage) {
	msg.ProcessID = id
	if err := ps.stream.Send(msg); err != nil && !errors.Is(err, io.EOF) {
		ps.t.Error(err)
	}
}

// start starts a process; until waits for something to become true of it.
func (ps *processes) start(id, container string, init *gateway.InitMessage, args ...string) *process {
	p := &process{}
	ps.mu.Lock()
	ps.all[id] = p
	ps.mu.Unlock()
	init.ContainerID, init.Meta = container, &pb.Meta{Args: args, Cwd: "/"}
	ps.send(id, &gateway.ExecMessage{Input: &gateway.ExecMessage_Init{Init: init}})
	return p
}

func (ps *processes) until(what string, ok func() bool) {
	ps.t.Helper()
	timer := time.AfterFunc(30*time.Second, func() {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		ps.err = errors.New("nothing happened for 30 s")
		ps.change.Broadcast()
	})
	defer timer.Stop()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for !ok() {
		if ps.err != nil {
			ps.t.Fatalf("waiting for %s: %v", what, ps.err)
		}
		ps.change.Wait()
	}
}

// wait waits for the end of a process.
func (ps *processes) wait(p *process) *process {
	ps.t.Helper()
	ps.until("the end of a process", func() bool { return len(p.order) > 0 && p.order[len(p.order)-1] == "done" })
	return p
}

// run runs a command and returns its output.
func (ps *processes) run(container, script string) string {
	ps.t.Helper()
	p := ps.wait(ps.start(script, container, &gateway.InitMessage{Fds: []uint32{1, 2}}, "sh", "-c", script))
	if p.exit.GetCode() != 0 {
		ps.t.Errorf("%s: %v\n%s", script, p.exit, p.stdout.String())
	}
	return strings.TrimSpace(p.stdout.String())
}

func (b *gatewayBuild) newContainer(id string, mounts ...*pb.Mount) {
	b.t.Helper()
	if _, err := b.NewContainer(b.ctx, &gateway.NewContainerRequest{ContainerID: id, Mounts: mounts}); err != nil {
		b.t.Fatal(err)
	}
}

// TestGatewayContainer runs processes in a container of a client.
func TestGatewayContainer(t *testing.T) {
	d := watch(t)
	b := drive(t, d)
	root, err := b.solve(busybox(t), false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.NewContainer(b.ctx, &gateway.NewContainerRequest{
		ContainerID: "c", Hostname: "workshop", ExtraHosts: []*pb.HostIP{{Host: "elsewhere", IP: "10.1.2.3"}},
		Mounts: []*pb.Mount{
			{Dest: "/", ResultID: root},
			{Dest: "/scratch"},
			{Dest: "/tmpfs", MountType: pb.MountType_TMPFS},
			{Dest: "/cache", MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: t.Name()}},
			{Dest: "/read", ResultID: root, Readonly: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ps := b.processes()
	sh := ps.start("1", "c", &gateway.InitMessage{Fds: []uint32{0, 1, 2}, Tty: true}, "sh")
	say := func(text string) {
		ps.send("1", &gateway.ExecMessage{Input: &gateway.ExecMessage_File{File: &gateway.FdMessage{Data: []byte(text)}}})
	}
	ps.send("1", &gateway.ExecMessage{Input: &gateway.ExecMessage_Resize{Resize: &gateway.ResizeMessage{Rows: 12, Cols: 34}}})
	// What is typed is echoed: the answer must not be in the question.
	say("echo size $(stty size) $HOSTNAME $TERM\n")
	ps.until("the size", func() bool { return strings.Contains(sh.stdout.String(), "size 12 34 ") })
	for script, want := range map[string]string{
		"hostname":                                "workshop",
		"grep -c elsewhere /etc/hosts":            "1",
		"echo x > /scratch/f; cat /scratch/f":     "x",
		"echo y > /tmpfs/f; cat /tmpfs/f":         "y",
		"echo z > /cache/f; cat /cache/f":         "z",
		"echo w > /written; cat /written":         "w",
		"touch /read/f 2>/dev/null || echo no":    "no",
		"echo $PATH | grep -o '^/usr/local/sbin'": "/usr/local/sbin",
	} {
		if got := ps.run("c", script); got != want {
			t.Errorf("%s says %q, want %q", script, got, want)
		}
	}
	for mount, name := range map[int32]string{0: "/written", 1: "f", 3: "f", 4: "/bin/sh"} {
		st, err := b.StatFileContainer(b.ctx, &gateway.StatFileRequest{Ref: "c", Path: name, MountIndex: mount})
		if err != nil || st.GetStat().GetPath() != path.Base(name) {
			t.Errorf("mount %d: %v, %v", mount, st, err)
		}
	}
	file, err := b.ReadFileContainer(b.ctx, &gateway.ReadFileRequest{Ref: "c", FilePath: "/f", MountIndex: 3})
	if err != nil || string(file.GetData()) != "z\n" {
		t.Errorf("%v, %v", file, err)
	}
	dir, err := b.ReadDirContainer(b.ctx, &gateway.ReadDirRequest{Ref: "c", DirPath: "/", MountIndex: 1})
	if err != nil || len(dir.GetEntries()) != 1 {
		t.Errorf("%v, %v", dir, err)
	}
	second := ps.start("2", "c", &gateway.InitMessage{Fds: []uint32{1}}, "sh", "-c", "trap 'exit 7' HUP; echo ready; while :; do sleep 0.05; done")
	ps.until("the trap", func() bool { return second.stdout.Len() > 0 })
	ps.send("2", &gateway.ExecMessage{Input: &gateway.ExecMessage_Signal{Signal: &gateway.SignalMessage{Name: "HUP"}}})
	if ps.wait(second); second.exit.GetCode() != 7 {
		t.Errorf("exit %v after HUP", second.exit)
	}
	third := ps.start("3", "c", &gateway.InitMessage{}, "sleep", "100")
	ps.until("a start", func() bool { return len(third.order) > 0 })
	ps.send("3", &gateway.ExecMessage{Input: &gateway.ExecMessage_Signal{Signal: &gateway.SignalMessage{Name: "KILL"}}})
	if ps.wait(third); third.exit.GetCode() != 137 || third.exit.GetError() == nil {
		t.Errorf("exit %v after KILL", third.exit)
	}
	fourth := ps.start("4", "c", &gateway.InitMessage{Fds: []uint32{1, 2}}, "cat", "/dev/zero")
	ps.until("output", func() bool { return fourth.stdout.Len() > 1<<20 })
	say("exit 3\n")
	if ps.wait(sh); sh.exit.GetCode() != 3 {
		t.Errorf("shell: %v", sh.exit)
	}
	if ps.wait(fourth); fourth.exit.GetCode() != 137 {
		t.Errorf("the end of the first process killed another one with %v", fourth.exit)
	}
	if got := strings.Join(sh.order, " "); got != "started eof1 eof2 exit done" {
		t.Errorf("order %s", got)
	}
	if _, err := b.ReleaseContainer(b.ctx, &gateway.ReleaseContainerRequest{ContainerID: "c"}); err != nil {
		t.Error(err)
	}
	b.end()
}

// TestGatewayFailedStep looks into what a failed process left.
func TestGatewayFailedStep(t *testing.T) {
	d := watch(t)
	b := drive(t, d)
	st := failing(t, "echo half > /made; exit 9")
	_, err := b.solve(st, true)
	var solve *errdefs.Solve
	for _, detail := range status.Convert(err).Proto().GetDetails() {
		if strings.HasSuffix(detail.GetTypeUrl(), "/errdefs.Solve+json") {
			solve = &errdefs.Solve{}
			if err := protojson.Unmarshal(detail.GetValue(), solve); err != nil {
				t.Fatal(err)
			}
		}
	}
	if solve == nil || len(solve.GetMountIDs()) != 1 || len(solve.GetInputIDs()) != 1 || solve.GetOp().GetExec() == nil {
		t.Fatalf("%v: %v", err, solve)
	}
	b.newContainer("after", &pb.Mount{Dest: "/", ResultID: solve.GetMountIDs()[0]})
	b.newContainer("before", &pb.Mount{Dest: "/", ResultID: solve.GetInputIDs()[0]})
	ps := b.processes()
	if got := ps.run("after", "cat /made"); got != "half" {
		t.Errorf("what the process made: %q", got)
	}
	if got := ps.run("before", "test -e /made || echo none"); got != "none" {
		t.Errorf("what the process started from: %q", got)
	}
	// Nobody else's build knows the ids.
	other := drive(t, d)
	_, err = other.NewContainer(other.ctx, &gateway.NewContainerRequest{
		ContainerID: "c", Mounts: []*pb.Mount{{Dest: "/", ResultID: solve.GetMountIDs()[0]}},
	})
	if status.Code(err) != codes.NotFound {
		t.Errorf("another build's id: %v", err)
	}
	other.end()
	b.end()
}

// TestGatewayClientDies leaves processes, containers and a failed step behind.
func TestGatewayClientDies(t *testing.T) {
	d := watch(t)
	b := drive(t, d)
	root, err := b.solve(busybox(t), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.solve(failing(t, "echo > /f; exit 1"), true); err == nil {
		t.Error("no error")
	}
	ps := b.processes()
	for _, id := range []string{"a", "b"} {
		b.newContainer(id, &pb.Mount{Dest: "/", ResultID: root})
		for _, n := range []string{"1", "2"} {
			p := ps.start(id+n, id, &gateway.InitMessage{Fds: []uint32{0, 1, 2}}, "sleep", "1000")
			ps.until("a start", func() bool { return len(p.order) > 0 })
		}
	}
	b.leave()
	if err := <-b.done; err == nil {
		t.Error("the build went on")
	}
}

// TestGatewayHostile sends what no client sends.
func TestGatewayHostile(t *testing.T) {
	d := watch(t)
	b := drive(t, d)
	root, err := b.solve(busybox(t), false)
	if err != nil {
		t.Fatal(err)
	}
	b.newContainer("c", &pb.Mount{Dest: "/", ResultID: root})
	for name, req := range map[string]*gateway.NewContainerRequest{
		"no id":         {Mounts: []*pb.Mount{{Dest: "/", ResultID: root}}},
		"long id":       {ContainerID: strings.Repeat("x", 1000), Mounts: []*pb.Mount{{Dest: "/", ResultID: root}}},
		"twice":         {ContainerID: "c", Mounts: []*pb.Mount{{Dest: "/", ResultID: root}}},
		"no root":       {ContainerID: "d"},
		"unknown ref":   {ContainerID: "d", Mounts: []*pb.Mount{{Dest: "/", ResultID: "nobody"}}},
		"many mounts":   {ContainerID: "d", Mounts: make([]*pb.Mount, 5000)},
		"unknown mount": {ContainerID: "d", Mounts: []*pb.Mount{{Dest: "/", MountType: 99}}},
	} {
		if _, err := b.NewContainer(b.ctx, req); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	init := func(m *gateway.InitMessage) *gateway.ExecMessage {
		return &gateway.ExecMessage{ProcessID: "p", Input: &gateway.ExecMessage_Init{Init: m}}
	}
	sleeping := init(&gateway.InitMessage{ContainerID: "c", Meta: &pb.Meta{Args: []string{"sleep", "1000"}}})
	for want, msgs := range map[string][]*gateway.ExecMessage{
		"ProcessID required":                 {{}},
		`IO for process "p" not found`:       {{ProcessID: "p", Input: &gateway.ExecMessage_File{File: &gateway.FdMessage{}}}},
		`container "no" previously released`: {init(&gateway.InitMessage{ContainerID: "no"})},
		"Unknown signal NONE":                {sleeping, {ProcessID: "p", Input: &gateway.ExecMessage_Signal{Signal: &gateway.SignalMessage{Name: "NONE"}}}},
		"Process p already exists":           {sleeping, sleeping},
		"fd 0 unavailable to write":          {sleeping, {ProcessID: "p", Input: &gateway.ExecMessage_File{File: &gateway.FdMessage{}}}},
	} {
		stream, err := b.ExecProcess(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			_ = stream.Send(m) // The end of the stream says why.
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ps := b.processes()
	for want, m := range map[string]*gateway.InitMessage{
		"invalid security mode":            {Security: 2},
		"security.insecure is not allowed": {Security: pb.SecurityMode_INSECURE},
	} {
		p := ps.wait(ps.start(want, "c", m, "true"))
		if !strings.Contains(p.exit.GetError().GetMessage(), want) || p.exit.GetCode() != 255 {
			t.Errorf("%v, want %s", p.exit, want)
		}
	}
	for _, r := range []*gateway.ReadFileRequest{{Ref: "c", MountIndex: 7}, {Ref: "c", MountIndex: -1}, {Ref: "no"}, {Ref: "c", FilePath: "../../../../etc/hostname"}} {
		if _, err := b.ReadFileContainer(b.ctx, r); err == nil {
			t.Errorf("%v was read", r)
		}
	}
	b.end()
}
