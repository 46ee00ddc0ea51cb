package exec

import (
	"slices"
	"testing"

	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func TestRelaxed(t *testing.T) {
	type r = executor.Resources
	for name, tt := range map[string]struct{ a, b, want *r }{
		"nobody":              {nil, nil, nil},
		"one says nothing":    {nil, &r{Memory: 1}, &r{Memory: 1}},
		"more memory":         {&r{Memory: 1}, &r{Memory: 2}, &r{Memory: 2}},
		"no limit of memory":  {&r{Memory: 1}, &r{CPUShares: 2}, &r{CPUShares: 2}},
		"swap":                {&r{MemorySwap: 5}, &r{MemorySwap: 7}, &r{MemorySwap: 7}},
		"swap not given":      {&r{MemorySwap: 5}, &r{}, &r{MemorySwap: 5}},
		"swap without limit":  {&r{MemorySwap: 5}, &r{MemorySwap: -1}, &r{MemorySwap: -1}},
		"shares":              {&r{CPUShares: 5}, &r{CPUShares: 3}, &r{CPUShares: 5}},
		"larger part":         {&r{CPUPeriod: 100, CPUQuota: 50}, &r{CPUPeriod: 10, CPUQuota: 6}, &r{CPUPeriod: 10, CPUQuota: 6}},
		"same part":           {&r{CPUPeriod: 100, CPUQuota: 50}, &r{CPUPeriod: 10, CPUQuota: 5}, &r{CPUPeriod: 10, CPUQuota: 5}},
		"period not given":    {&r{CPUQuota: 50_000}, &r{CPUPeriod: 100, CPUQuota: 60}, &r{CPUPeriod: 100, CPUQuota: 60}},
		"no quota":            {&r{CPUPeriod: 100, CPUQuota: 50}, &r{}, &r{}},
		"processors":          {&r{CpusetCPUs: "0,4-5"}, &r{CpusetCPUs: "3,1"}, &r{CpusetCPUs: "0-1,3-5"}},
		"all processors":      {&r{CpusetCPUs: "0"}, &r{}, &r{}},
		"nonsense":            {&r{CpusetMems: "0-"}, &r{CpusetMems: "1"}, &r{CpusetMems: "1"}},
		"nonsense, the other": {&r{CpusetMems: "1"}, &r{CpusetMems: "99999"}, &r{CpusetMems: "1"}},
	} {
		for _, pair := range [][2]*r{{tt.a, tt.b}, {tt.b, tt.a}} {
			got := relaxed(pair[0], pair[1])
			if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
				t.Errorf("%s: %+v, want %+v", name, got, tt.want)
			}
		}
	}
}

func TestJoin(t *testing.T) {
	limited := func(memory int64) *Op {
		o, err := New(Config{}, Vertex{Op: command(func(*pb.ExecOp) {}), Inputs: 1, Outputs: 1,
			Metadata: &pb.OpMetadata{LinuxResources: &pb.LinuxResources{Memory: memory}}})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	o := limited(10)
	o.Join(limited(30))
	o.Join(o)
	if got := o.limits().Memory; got != 30 {
		t.Errorf("memory is limited to %d", got)
	}
}

func FuzzParseCPUs(f *testing.F) {
	for _, s := range []string{"0", "0-2,7", "", "8191", "8192", "1-", "-", "3-1", " 1 , 2", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		set, err := parseCPUs(list)
		if err != nil {
			return
		}
		again, err := parseCPUs(formatCPUs(set))
		if err != nil || !slices.Equal(set, again) {
			t.Errorf("%q does not survive: %q (%v)", list, formatCPUs(set), err)
		}
	})
}
