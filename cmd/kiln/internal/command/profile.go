package command

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"

	"github.com/spf13/pflag"
)

// profiles are files to which the program writes what it did; for those who
// work on it.
type profiles struct {
	cpu, memory, block, mutex, trace string
	memoryRate                       int
	// stops end what start began, in reverse.
	stops []func() error
}

// add declares the flags, which help does not show.
func (p *profiles) add(f *pflag.FlagSet) {
	f.StringVar(&p.cpu, "profile-cpu", "", "write a CPU profile to a file")
	f.StringVar(&p.memory, "profile-memory", "", "write a memory profile to a file")
	f.IntVar(&p.memoryRate, "profile-memoryrate", 512<<10, "bytes between the samples of the memory profile")
	f.StringVar(&p.block, "profile-block", "", "write a block profile to a file")
	f.StringVar(&p.mutex, "profile-mutex", "", "write a mutex profile to a file")
	f.StringVar(&p.trace, "profile-trace", "", "write an execution trace to a file")
	for _, name := range []string{"cpu", "memory", "memoryrate", "block", "mutex", "trace"} {
		f.Lookup("profile-" + name).Hidden = true
	}
}

// start begins all profiles that were asked for. Call stop even if it fails.
func (p *profiles) start() error {
	for _, one := range []struct {
		path  string
		begin func(f *os.File) (end func() error, err error)
	}{
		{p.cpu, func(f *os.File) (func() error, error) {
			return func() error { pprof.StopCPUProfile(); return nil }, pprof.StartCPUProfile(f)
		}},
		{p.trace, func(f *os.File) (func() error, error) {
			return func() error { trace.Stop(); return nil }, trace.Start(f)
		}},
		{p.memory, func(f *os.File) (func() error, error) {
			runtime.MemProfileRate = p.memoryRate
			return lookup(f, "heap"), nil
		}},
		{p.block, func(f *os.File) (func() error, error) {
			runtime.SetBlockProfileRate(1)
			return lookup(f, "block"), nil
		}},
		{p.mutex, func(f *os.File) (func() error, error) {
			runtime.SetMutexProfileFraction(1)
			return lookup(f, "mutex"), nil
		}},
	} {
		if one.path == "" {
			continue
		}
		f, err := os.Create(one.path)
		if err != nil {
			return fmt.Errorf("write profile: %w", err)
		}
		p.stops = append(p.stops, f.Close)
		end, err := one.begin(f)
		if err != nil {
			return fmt.Errorf("write profile %s: %w", one.path, err)
		}
		p.stops = append(p.stops, end)
	}
	return nil
}

// lookup writes a profile at its end.
func lookup(f *os.File, name string) func() error {
	return func() error { return pprof.Lookup(name).WriteTo(f, 0) }
}

// stop completes the files.
func (p *profiles) stop() error {
	var errs []error
	for i := len(p.stops) - 1; i >= 0; i-- {
		errs = append(errs, p.stops[i]())
	}
	p.stops = nil
	return errors.Join(errs...)
}
