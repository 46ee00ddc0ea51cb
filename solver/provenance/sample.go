package provenance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Sample is how busy the machine was at one moment.
type Sample struct {
	Timestamp time.Time `json:"timestamp"`
	// CPU is the time that the machine's cores spent, in seconds since it
	// started.
	CPU *CPUTimes `json:"cpuStat,omitempty"`
	// Processes counts since the machine started; Running is of the moment.
	Processes *Processes `json:"procStat,omitempty"`
	// Memory in kB.
	Memory *Memory `json:"memoryStat,omitempty"`
	// How much work waited for what; nil where the kernel does not tell.
	CPUPressure    *Pressure `json:"cpuPressure,omitempty"`
	MemoryPressure *Pressure `json:"memoryPressure,omitempty"`
	IOPressure     *Pressure `json:"ioPressure,omitempty"`
}

// CPUTimes are seconds by what they were spent on.
type CPUTimes struct {
	User      float64 `json:"user"`
	Nice      float64 `json:"nice"`
	System    float64 `json:"system"`
	Idle      float64 `json:"idle"`
	IOWait    float64 `json:"iowait"`
	IRQ       float64 `json:"irq"`
	SoftIRQ   float64 `json:"softirq"`
	Steal     float64 `json:"steal"`
	Guest     float64 `json:"guest"`
	GuestNice float64 `json:"guestNice"`
}

// Processes counts what the scheduler did.
type Processes struct {
	Switches uint64 `json:"contextSwitches"`
	Created  uint64 `json:"processCreated"`
	Running  uint64 `json:"processesRunning"`
}

// Memory is what the machine's memory is used for; nil for what the kernel does
// not tell.
type Memory struct {
	Total     *uint64 `json:"total"`
	Free      *uint64 `json:"free"`
	Available *uint64 `json:"available"`
	Buffers   *uint64 `json:"buffers"`
	Cached    *uint64 `json:"cached"`
	Active    *uint64 `json:"active"`
	Inactive  *uint64 `json:"inactive"`
	Swap      *uint64 `json:"swap"`
	Dirty     *uint64 `json:"dirty"`
	Writeback *uint64 `json:"writeback"`
	Slab      *uint64 `json:"slab"`
}

// Pressure tells of some and of all work that waited.
type Pressure struct {
	Some *Stalls `json:"some"`
	Full *Stalls `json:"full"`
}

// Stalls are shares of time in percent, over so many seconds, and a total in
// microseconds.
type Stalls struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// maxProcFile bounds what is read of one of the kernel's files; the largest has
// a line for each core and interrupt.
const maxProcFile = 4 << 20

// ReadSample reads the state of the machine from proc, a mounted proc file
// system.
func ReadSample(proc string, now time.Time) (*Sample, error) {
	s := &Sample{Timestamp: now, CPU: &CPUTimes{}, Processes: &Processes{}, Memory: &Memory{}}
	if err := eachLine(filepath.Join(proc, "stat"), s.stat); err != nil {
		return nil, err
	}
	if err := eachLine(filepath.Join(proc, "meminfo"), s.Memory.line); err != nil {
		return nil, err
	}
	for name, to := range map[string]**Pressure{"cpu": &s.CPUPressure, "memory": &s.MemoryPressure, "io": &s.IOPressure} {
		p := &Pressure{}
		err := eachLine(filepath.Join(proc, "pressure", name), p.line)
		switch {
		case err == nil:
			*to = p
		// A kernel that could tell says so in this way when it was started not to.
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EOPNOTSUPP):
			return nil, err
		}
	}
	return s, nil
}

// eachLine calls fn with the fields of each line.
func eachLine(path string, fn func(fields []string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sample the machine: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxProcFile))
	lines.Buffer(nil, maxProcFile)
	for lines.Scan() {
		if err := fn(strings.Fields(lines.Text())); err != nil {
			return fmt.Errorf("sample the machine: %s: line %q: %w", path, lines.Text(), err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("sample the machine: %s: %w", path, err)
	}
	return nil
}

// ticks is how many of the kernel's units of CPU time make a second, on every
// architecture that Go knows.
const ticks = 100

// stat reads one line of /proc/stat.
func (s *Sample) stat(fields []string) error {
	if len(fields) < 2 {
		return nil
	}
	c, p := s.CPU, s.Processes
	var err error
	switch fields[0] {
	case "cpu":
		times := []*float64{&c.User, &c.Nice, &c.System, &c.Idle, &c.IOWait, &c.IRQ, &c.SoftIRQ, &c.Steal, &c.Guest, &c.GuestNice}
		for i, to := range times[:min(len(times), len(fields)-1)] {
			n, perr := strconv.ParseUint(fields[i+1], 10, 64)
			if perr != nil {
				return perr
			}
			*to = math.Round(float64(n)*1000/ticks) / 1000
		}
	case "ctxt":
		p.Switches, err = strconv.ParseUint(fields[1], 10, 64)
	case "processes":
		p.Created, err = strconv.ParseUint(fields[1], 10, 64)
	case "procs_running":
		p.Running, err = strconv.ParseUint(fields[1], 10, 64)
	}
	return err
}

// line reads one line of /proc/meminfo.
func (m *Memory) line(fields []string) error {
	if len(fields) < 2 {
		return nil
	}
	to := map[string]**uint64{
		"MemTotal:": &m.Total, "MemFree:": &m.Free, "MemAvailable:": &m.Available, "Buffers:": &m.Buffers, "Cached:": &m.Cached,
		"Active:": &m.Active, "Inactive:": &m.Inactive, "SwapTotal:": &m.Swap, "Dirty:": &m.Dirty, "Writeback:": &m.Writeback, "Slab:": &m.Slab,
	}[fields[0]]
	if to == nil {
		return nil
	}
	n, err := strconv.ParseUint(fields[1], 10, 64)
	*to = &n
	return err
}

// line reads one line of a file below /proc/pressure.
func (p *Pressure) line(fields []string) error {
	if len(fields) == 0 {
		return nil
	}
	to := map[string]**Stalls{"some": &p.Some, "full": &p.Full}[fields[0]]
	if to == nil {
		return nil
	}
	s := &Stalls{}
	for _, f := range fields[1:] {
		key, text, _ := strings.Cut(f, "=")
		var err error
		switch key {
		case "avg10":
			s.Avg10, err = strconv.ParseFloat(text, 64)
		case "avg60":
			s.Avg60, err = strconv.ParseFloat(text, 64)
		case "avg300":
			s.Avg300, err = strconv.ParseFloat(text, 64)
		case "total":
			s.Total, err = strconv.ParseUint(text, 10, 64)
		}
		if err != nil {
			return err
		}
	}
	*to = s
	return nil
}
