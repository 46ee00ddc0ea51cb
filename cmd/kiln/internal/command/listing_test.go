package command

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
	"github.com/kilnbuild/kiln/solver/pb/control"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/worker"
)

// TestMain fixes the zone that times are printed in, before anything asks.
func TestMain(m *testing.M) {
	os.Setenv("TZ", "UTC")
	os.Exit(m.Run())
}

func at(sec int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(sec, 0)) }

// fullDaemon has something to list of every kind.
func fullDaemon(t *testing.T) *fakedaemon.Daemon {
	d := fakedaemon.Start(t)
	d.Usage = []*control.UsageRecord{
		{ID: "big", Size: 1_500_000, CreatedAt: at(0), LastUsedAt: at(60), UsageCount: 3, Parents: []string{"p", "q"}, Description: "pulled", RecordType: "regular", InUse: true},
		{ID: "small", Size: 500, CreatedAt: at(0), Mutable: true, Shared: true},
	}
	d.Workers = []*worker.WorkerRecord{{
		ID: "w1", Labels: map[string]string{"b": "2", "a": "1"}, Platforms: []*pb.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}},
		GCPolicy:        []*worker.GCPolicy{{All: true, KeepDuration: int64(48 * time.Hour), Filters: []string{"type==x"}, MaxUsedSpace: 512_000_000}},
		BuildkitVersion: &worker.BuildkitVersion{Package: "pkg", Version: "v1", Revision: "r"},
		CDIDevices:      []*worker.CDIDevice{{Name: "v/c=0", AutoAllow: true, Annotations: map[string]string{"k": "v"}}},
	}}
	d.History = []*control.BuildHistoryEvent{
		{Type: control.BuildHistoryEventType_COMPLETE, Record: &control.BuildHistoryRecord{Ref: "r1", CreatedAt: at(0), CompletedAt: at(5), Generation: 2, Pinned: true}},
		{Type: control.BuildHistoryEventType_STARTED, Record: &control.BuildHistoryRecord{Ref: "r2", CreatedAt: at(0), NumTotalSteps: 3, NumCachedSteps: 1, NumWarnings: 1}},
	}
	d.Events = []*control.StatusResponse{{Vertexes: []*control.Vertex{{Digest: "d", Name: "step", Started: at(0), Completed: at(1)}}}}
	return d
}

func TestListings(t *testing.T) {
	d := fullDaemon(t)
	for args, want := range map[string]string{
		"du": `ID									RECLAIMABLE	SIZE	LAST ACCESSED
small*                                                                 	true       	500B*	
big                                                                    	false      	1.50MB	
Shared:		500B
Private:	1.50MB
Reclaimable:	500B
Total:		1.50MB
`,
		"du -v --filter x": `ID:		small
Created at:	1970-01-01 00:00:00 +0000 UTC
Mutable:	true
Reclaimable:	true
Shared:		true
Size:		500B
Usage count:	0

ID:		big
Parents:	p;q
Created at:	1970-01-01 00:00:00 +0000 UTC
Mutable:	false
Reclaimable:	false
Shared:		false
Size:		1.50MB
Description:	pulled
Usage count:	3
Last used:	1970-01-01 00:01:00 +0000 UTC
Type:		regular

`,
		"du --format {{range.}}{{.ID}},{{end}}": "small,big,\n",
		"prune --format json": `{"id":"big","mutable":false,"inUse":true,"size":1500000,"createdAt":"1970-01-01T00:00:00Z","lastUsedAt":"1970-01-01T00:01:00Z","usageCount":3,"parents":["p","q"],"description":"pulled","recordType":"regular","shared":false}
{"id":"small","mutable":true,"inUse":false,"size":500,"createdAt":"1970-01-01T00:00:00Z","lastUsedAt":null,"usageCount":0,"parents":null,"description":"","recordType":"","shared":true}
`,
		"prune --all --keep-storage 1.5": `ID									RECLAIMABLE	SIZE	LAST ACCESSED
big                                                                    	false      	1.50MB	
small*                                                                 	true       	500B*	
Total:	1.50MB
`,
		"debug workers": "ID	PLATFORMS\nw1	linux/amd64,linux/arm64\n",
		"debug workers -v": `ID:		w1
Platforms:	linux/amd64,linux/arm64
BuildKit:	pkg v1 r
Labels:
	a:	1
	b:	2
Devices:
	Name:		v/c=0
	AutoAllow:	true
	Annotations:	k:	v

GC Policy rule#0:
	All:			true
	Filters:		type==x
	Keep duration:		48h0m0s
	Maximum used space:	512MB

`,
		"debug workers --format json":              `[{"id":"w1","labels":{"a":"1","b":"2"},"platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"arm64","os":"linux","variant":"v8"}],"gcPolicy":[{"all":true,"filter":["type==x"],"keepDuration":172800000000000,"reservedSpace":0,"maxUsedSpace":512000000,"minFreeSpace":0}],"buildkitVersion":{"package":"pkg","version":"v1","revision":"r"},"cdiDevices":[{"name":"v/c=0","autoAllow":true,"annotations":{"k":"v"},"onDemand":false}]}]` + "\n",
		"debug info":                               "BuildKit:   example.com/daemon v1.2.3 abc\nDockerfile: 1.9\n",
		"debug info --format {{json .}}":           `{"buildkitVersion":{"package":"example.com/daemon","version":"v1.2.3","revision":"abc","dockerfileVersion":"1.9"}}` + "\n",
		"debug histories":                          "TYPE		REF	CREATED			COMPLETED		GENERATION	PINNED\nCOMPLETE	r1	1970-01-01T00:00:00Z	1970-01-01T00:00:05Z	2		*\nSTARTED	r2	1970-01-01T00:00:00Z		0	\n",
		"debug histories --format {{.Record.Ref}}": "r1\nr2\n",
		"prune-histories":                          "TYPE	REF	CREATED			COMPLETED	GENERATION\nSTARTED	r2	1970-01-01T00:00:00Z			0\n",
		"debug monitor":                            "event: COMPLETE ref:r1\nevent: STARTED ref:r2\n  cache: 1/3\n  warnings: 1\n",
		"debug logs --progress plain r1":           "#1 step\n#1 DONE 1.0s\n",
		"--version":                                "kiln module v1 rev\n",
	} {
		c := &cli{}
		if err := c.run(t, d, splitArgs(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		same(t, args, want, c.out.String())
	}
}

// splitArgs splits at spaces outside of braces.
func splitArgs(s string) []string {
	s = strings.ReplaceAll(s, "{{json .}}", "{{json_.}}")
	out := strings.Fields(s)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], "json_.", "json .")
	}
	return out
}

// Flags become fields of the requests.
func TestRequests(t *testing.T) {
	for args, want := range map[string]any{
		"du -f a -f b,c": &control.DiskUsageRequest{Filter: []string{"a", "b,c"}},
		"prune --all --keep-duration 1h --keep-storage 2 --keep-storage-min 1.5 --free-storage 3 --filter f": &control.PruneRequest{
			All: true, KeepDuration: int64(time.Hour), MaxUsedSpace: 2_000_000, ReservedSpace: 1_500_000, MinFreeSpace: 3_000_000, Filter: []string{"f"}},
		"debug workers -f id==x":            &control.ListWorkersRequest{Filter: []string{"id==x"}},
		"debug ctl --pin r":                 &control.UpdateBuildHistoryRequest{Ref: "r", Pinned: true},
		"debug ctl --unpin r":               &control.UpdateBuildHistoryRequest{Ref: "r"},
		"debug ctl --delete r":              &control.UpdateBuildHistoryRequest{Ref: "r", Delete: true},
		"debug monitor --completed --ref r": &control.BuildHistoryRequest{Ref: "r"},
		"debug monitor":                     &control.BuildHistoryRequest{ActiveOnly: true},
		"debug histories":                   &control.BuildHistoryRequest{EarlyExit: true},
	} {
		d := fakedaemon.Start(t)
		if err := (&cli{}).run(t, d, strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		same(t, args, []any{want}, d.Calls())
	}
}

func TestCommandErrors(t *testing.T) {
	d := fakedaemon.Start(t)
	for args, want := range map[string]string{
		"debug ctl --pin":                       "build ref must be specified",
		"debug ctl r":                           "must specify one of",
		"debug ctl --pin --unpin r":             "both --pin and --unpin",
		"debug ctl --pin --delete r":            "cannot specify --delete",
		"debug logs":                            "build ref must be specified",
		"debug logs --trace r":                  "ref r not found",
		"debug get":                             "blob digest must be specified",
		"debug get x":                           "invalid checksum digest format",
		"du --format {{":                        "--format",
		"debug dump-llb /nowhere":               "no such file",
		"--addr tcp://h dial-stdio":             "expected unix://",
		"--addr carrier-pigeon://h du":          "is not one of unix, tcp",
		"--addr here du":                        "want unix:///path",
		"--addr docker-container://-x du":       "is no name",
		"--addr unix:///nowhere du":             "does not answer",
		"--tlsdir /nowhere --addr tcp://h:1 du": "neither ca.pem nor ca.crt",
		"frobnicate":                            "unknown command",
	} {
		if err := (&cli{}).run(t, d, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}

// The addresses that are used when none is given.
func TestDefaultAddress(t *testing.T) {
	for name, want := range map[string]string{"kiln": kilnAddress, "buildctl": buildctlAddress} {
		for env, want := range map[string]string{"": want, "tcp://h:1": "tcp://h:1"} {
			g := &globals{IO: IO{LookupEnv: func(k string) (string, bool) { return env, k == "BUILDKIT_HOST" && env != "" }}}
			root := g.newRoot(name, "")
			if got := root.PersistentFlags().Lookup("addr").DefValue; got != want {
				t.Errorf("%s with BUILDKIT_HOST=%s: %s, want %s", name, env, got, want)
			}
		}
	}
}

// dial-stdio passes bytes and both ends on.
func TestDialStdio(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		data, _ := io.ReadAll(conn)
		_, _ = conn.Write([]byte(strings.ToUpper(string(data))))
	}()
	c := &cli{stdin: "hello"}
	if err := c.run(t, nil, "--addr", "unix://"+path, "dial-stdio"); err != nil || c.out.String() != "HELLO" {
		t.Errorf("%v, output %q", err, c.out.String())
	}
}
