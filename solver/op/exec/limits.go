package exec

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// maxCPUs bounds the numbers in lists of processors and memory nodes.
const maxCPUs = 8192

// unlimited is how a limit of swap says that there is none.
const unlimited = -1

// Join lets the process have what the more generous of two builds would give
// it: none of them is slowed down by the other. A process that runs already
// keeps its limits.
func (o *Op) Join(other solver.Op) {
	p, ok := other.(*Op)
	if !ok || p == o {
		return
	}
	theirs := p.limits()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resources = relaxed(o.resources, theirs)
}

// limits returns the limits as they are now.
func (o *Op) limits() *executor.Resources {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.resources
}

func resources(r *pb.LinuxResources) *executor.Resources {
	if r == nil {
		return nil
	}
	return &executor.Resources{
		Memory: r.GetMemory(), MemorySwap: r.GetMemorySwap(), CPUShares: r.GetCpuShares(), CPUPeriod: r.GetCpuPeriod(),
		CPUQuota: r.GetCpuQuota(), CpusetCPUs: r.GetCpusetCpus(), CpusetMems: r.GetCpusetMems(),
	}
}

// relaxed returns the looser of two limits, field by field. A build that says
// nothing at all about limits does not lift those of the other one, as clients
// expect; one that says something, but nothing about memory, say, does.
func relaxed(a, b *executor.Resources) *executor.Resources {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	out := &executor.Resources{
		CPUShares:  max(a.CPUShares, b.CPUShares),
		MemorySwap: max(a.MemorySwap, b.MemorySwap),
		CpusetCPUs: union(a.CpusetCPUs, b.CpusetCPUs), CpusetMems: union(a.CpusetMems, b.CpusetMems),
	}
	if a.Memory != 0 && b.Memory != 0 {
		out.Memory = max(a.Memory, b.Memory)
	}
	if a.MemorySwap == unlimited || b.MemorySwap == unlimited {
		out.MemorySwap = unlimited
	}
	faster := a
	if moreTime(b, a) {
		faster = b
	}
	out.CPUPeriod, out.CPUQuota = faster.CPUPeriod, faster.CPUQuota
	return out
}

// defaultPeriod is what the kernel takes for a period that is not given, in
// microseconds.
const defaultPeriod = 100_000

// moreTime says whether a gives more processor time than b. Of two that give
// the same, the shorter period lets a process wait less.
func moreTime(a, b *executor.Resources) bool {
	switch {
	case b.CPUQuota <= 0:
		return false
	case a.CPUQuota <= 0:
		return true
	}
	period := func(r *executor.Resources) uint64 {
		if r.CPUPeriod == 0 {
			return defaultPeriod
		}
		return r.CPUPeriod
	}
	// a.quota/a.period > b.quota/b.period, without losing a digit.
	leftHigh, left := bits.Mul64(uint64(a.CPUQuota), period(b))
	rightHigh, right := bits.Mul64(uint64(b.CPUQuota), period(a))
	if leftHigh != rightHigh {
		return leftHigh > rightHigh
	}
	if left != right {
		return left > right
	}
	return period(a) < period(b)
}

// union joins two lists of processors. An empty list means all; one that
// cannot be read gives way to the other, and the runtime says what is wrong if
// it is the only one.
func union(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	first, err := parseCPUs(a)
	if err != nil {
		return b
	}
	second, err := parseCPUs(b)
	if err != nil {
		return a
	}
	for i, on := range second {
		if on {
			first[i] = true
		}
	}
	return formatCPUs(first)
}

// parseCPUs reads a list such as "0-2,7" into a bit for each processor.
func parseCPUs(list string) ([]bool, error) {
	out := make([]bool, maxCPUs)
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("processor list %q: %q is not a number", list, low)
		}
		to, err := strconv.ParseUint(high, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("processor list %q: %q is not a number", list, high)
		}
		if from > to || to >= maxCPUs {
			return nil, fmt.Errorf("processor list %q: range %d-%d is not within 0-%d", list, from, to, maxCPUs-1)
		}
		for i := from; i <= to; i++ {
			out[i] = true
		}
	}
	return out, nil
}

// formatCPUs writes the shortest list.
func formatCPUs(set []bool) string {
	var parts []string
	for i := 0; i < len(set); i++ {
		if !set[i] {
			continue
		}
		from := i
		for i+1 < len(set) && set[i+1] {
			i++
		}
		if from == i {
			parts = append(parts, strconv.Itoa(i))
		} else {
			parts = append(parts, strconv.Itoa(from)+"-"+strconv.Itoa(i))
		}
	}
	return strings.Join(parts, ",")
}
