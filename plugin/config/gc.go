package config

import "time"

// What the cache may use of a disk when nobody says anything, after which the rest is other programs'.
const (
	reservedShare, reservedBytes = 10, 10e9
	maxUsedShare, maxUsedBytes   = 80, 100e9
	minFreeShare                 = 20
)

// Policy is a GCPolicy with everything in bytes.
type Policy struct {
	All          bool
	Filters      []string
	KeepDuration time.Duration
	Reserved     int64
	MaxUsed      int64
	MinFree      int64
}

// GCPolicies works out the policies for a disk of the given size in bytes, 0 for unknown: none if collection is off,
// else those of the file, else the defaults.
func (s *Space) GCPolicies(disk int64) []Policy {
	if s.GC != nil && !*s.GC {
		return nil
	}
	source := s.Policies
	if len(source) == 0 {
		source = s.defaultPolicies(disk)
	}
	out := make([]Policy, 0, len(source))
	for _, p := range source {
		if p.Reserved == (DiskSpace{}) {
			p.Reserved = p.KeepBytes
		}
		out = append(out, Policy{
			All: p.All, Filters: p.Filters, KeepDuration: p.KeepDuration.Duration,
			Reserved: p.Reserved.In(disk), MaxUsed: p.MaxUsed.In(disk), MinFree: p.MinFree.In(disk),
		})
	}
	return out
}

// limits returns the three limits for the whole cache.
func (s *Space) limits(disk int64) (reserved, maxUsed, minFree DiskSpace) {
	if s.Reserved != (DiskSpace{}) || s.MaxUsed != (DiskSpace{}) || s.MinFree != (DiskSpace{}) {
		return s.Reserved, s.MaxUsed, s.MinFree
	}
	if s.Keep != (DiskSpace{}) {
		return s.Keep, DiskSpace{}, DiskSpace{}
	}
	capped := func(share, most int64) DiskSpace {
		if d := (DiskSpace{Percentage: share}); d.In(disk) <= most {
			return d
		}
		return DiskSpace{Bytes: most}
	}
	return capped(reservedShare, reservedBytes), capped(maxUsedShare, maxUsedBytes), DiskSpace{Percentage: minFreeShare}
}

// defaultPolicies go from what is cheap to lose to what is not.
func (s *Space) defaultPolicies(disk int64) []GCPolicy {
	reserved, maxUsed, minFree := s.limits(disk)
	whole := GCPolicy{Reserved: reserved, MaxUsed: maxUsed, MinFree: minFree}
	old, all := whole, whole
	old.KeepDuration.Duration = 60 * 24 * time.Hour
	all.All = true
	return []GCPolicy{
		{
			// The next build makes these again with little work.
			Filters:      []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"},
			KeepDuration: Duration{48 * time.Hour},
			MaxUsed:      DiskSpace{Bytes: 512e6},
		},
		old, whole, all,
	}
}
