package plugin

import (
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/cache"
)

// measured are the metrics that parts of the builder know anyway. Nothing is
// counted for them twice, and to read them costs next to nothing.
func (b *Builder) measured(results *cache.Bolt) []prometheus.Collector {
	counter := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value)
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		counter("kiln_cache_lookups_total", "Keys looked up in the build cache.", func() float64 {
			lookups, _ := results.Counts()
			return float64(lookups)
		}),
		counter("kiln_cache_hits_total", "Keys found in the build cache.", func() float64 {
			_, hits := results.Counts()
			return float64(hits)
		}),
		gauge("kiln_steps_running", "Commands and file operations that run now.", func() float64 { return float64(b.slots.running.Load()) }),
		gauge("kiln_steps_waiting", "Commands and file operations that wait for max-parallelism to let them run.",
			func() float64 { return float64(b.slots.waiting.Load()) }),
		counter("kiln_registry_received_bytes_total", "Bytes that came from registries.", func() float64 {
			received, _ := b.registries.Bytes()
			return float64(received)
		}),
		counter("kiln_registry_sent_bytes_total", "Bytes that went to registries.", func() float64 {
			_, sent := b.registries.Bytes()
			return float64(sent)
		}),
		counter("kiln_gc_runs_total", "Runs of the rules of garbage collection.", func() float64 { return float64(b.prune.runs.Load()) }),
		counter("kiln_gc_seconds_total", "Time that these runs took.", func() float64 { return float64(b.prune.took.Load()) / 1e9 }),
		counter("kiln_gc_removed_total", "Cache records that these runs removed.", func() float64 { return float64(b.prune.removed.Load()) }),
		counter("kiln_gc_freed_bytes_total", "Sizes of these records.", func() float64 { return float64(b.prune.freed.Load()) }),
		gauge("kiln_cache_size_bytes", "Size of all cache records when the rules of garbage collection ran last.",
			func() float64 { return float64(b.prune.size.Load()) }),
		gauge("kiln_cache_records", "Cache records when the rules of garbage collection ran last.",
			func() float64 { return float64(b.prune.records.Load()) }),
		gauge("kiln_disk_size_bytes", "Size of the disk that the state is on.", func() float64 {
			size, _ := b.disk()
			return size
		}),
		gauge("kiln_disk_free_bytes", "Space on it that the daemon may still use.", func() float64 {
			_, free := b.disk()
			return free
		}),
	}
}

// disk asks how large the state's disk is and what is free on it; zero if that
// cannot be told.
func (b *Builder) disk() (size, free float64) {
	var st unix.Statfs_t
	if unix.Statfs(b.host.Root, &st) != nil {
		return 0, 0
	}
	return float64(st.Blocks) * float64(st.Bsize), float64(st.Bavail) * float64(st.Bsize)
}
