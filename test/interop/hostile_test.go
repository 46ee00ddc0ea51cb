package interop_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/control"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/test/daemon"
)

// solveRaw asks the daemon directly, with a request that no client sends.
func solveRaw(t *testing.T, d *daemon.Daemon, req *control.SolveRequest) error {
	t.Helper()
	conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = control.NewControlClient(conn).Solve(ctx, req)
	if ctx.Err() != nil {
		t.Fatalf("no answer within 30 s\n%s", d.Stacks())
	}
	return err
}

// TestMalformedRequests sends what no client sends. Each is an error, and the
// daemon goes on.
func TestMalformedRequests(t *testing.T) {
	d := watch(t)
	random := rand.NewChaCha8([32]byte{1})
	for n := range 200 {
		text := make([]byte, n*7%300)
		_, _ = random.Read(text) // It never fails.
		def := &pb.Definition{Def: [][]byte{text}}
		if n%2 == 0 {
			def.Def = append(def.Def, nil, text)
		}
		if err := solveRaw(t, d, &control.SolveRequest{Ref: fmt.Sprintf("random-%d", n), Definition: def}); err == nil && len(text) > 0 {
			t.Errorf("random bytes %x were solved", text)
		}
	}
	for name, req := range map[string]*control.SolveRequest{
		"no ref":           {},
		"unknown frontend": {Ref: "a", Frontend: "no.such"},
		"no session":       {Ref: "b", Session: "nobody", Frontend: "dockerfile.v0"},
		"odd names":        {Ref: "../../x\x00\n", Session: "\xff", Frontend: "dockerfile.v0"},
		"huge value":       {Ref: "c", Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"build-arg:X": strings.Repeat("x", 12<<20)}},
		"many values":      {Ref: "d", Frontend: "dockerfile.v0", FrontendAttrs: manyAttrs(100_000)},
		"too large":        {Ref: "e", Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"build-arg:X": strings.Repeat("x", 20<<20)}},
		"odd platform":     {Ref: "f", Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"platform": strings.Repeat("linux/amd64,", 50_000)}},
		"odd exporter":     {Ref: "g", Definition: &pb.Definition{}, Exporters: []*control.Exporter{{Type: "no-such"}}},
	} {
		t.Run(name, func(t *testing.T) {
			err := solveRaw(t, d, req)
			if err == nil {
				t.Error("solved")
			}
			if text := status.Convert(err).Message(); len(text) > 4<<10 {
				t.Errorf("error of %d bytes: %.200s…", len(text), text)
			}
		})
	}
	buildctl(t, d, "debug", "workers").ok(t)
}

// manyAttrs makes options nobody knows.
func manyAttrs(n int) map[string]string {
	attrs := map[string]string{}
	for i := range n {
		attrs[fmt.Sprintf("build-arg:ARG_%d", i)] = "value"
	}
	return attrs
}

// TestMalformedLLB pipes bytes that are no graph through the real buildctl.
func TestMalformedLLB(t *testing.T) {
	d := watch(t)
	for _, text := range []string{"", "garbage", "\x0a\x03abc", strings.Repeat("\x0a\x00", 100_000)} {
		out := run(t, text, nil, foreign(t, "buildctl"), "--addr", d.Address, "build", "--progress=plain")
		if text == "" {
			continue // An empty graph is the empty file system.
		}
		out.failed(t, "error: ")
	}
	buildctl(t, d, "debug", "workers").ok(t)
}
