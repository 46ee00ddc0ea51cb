package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Duration is a time span, written as Go writes it ("48h") or as a number of seconds.
type Duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler. Empty text is no change.
func (d *Duration) UnmarshalText(b []byte) error {
	text := unquote(b)
	if text == "" {
		return nil
	}
	if v, err := time.ParseDuration(text); err == nil {
		d.Duration = v
		return nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > math.MaxInt64/int64(time.Second) || seconds < math.MinInt64/int64(time.Second) {
		return fmt.Errorf("invalid duration %q: write for example \"48h\", or a number of seconds", text)
	}
	d.Duration = time.Duration(seconds) * time.Second
	return nil
}

// DiskSpace is a number of bytes or, if Percentage is not zero, a share of the disk.
type DiskSpace struct {
	Bytes      int64
	Percentage int64
}

// UnmarshalText implements encoding.TextUnmarshaler. Empty text is no change.
func (s *DiskSpace) UnmarshalText(b []byte) error {
	text := unquote(b)
	if text == "" {
		return nil
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseInt(number, 10, 64)
		if err != nil || p < 0 || p > 100 {
			return fmt.Errorf("invalid share of the disk %q: write 0%% to 100%%", text)
		}
		*s = DiskSpace{Percentage: p}
		return nil
	}
	bytes, err := units.RAMInBytes(text)
	if err != nil || bytes < 0 {
		return fmt.Errorf("invalid disk space %q: write a number of bytes, a size such as \"10GB\", or a percentage", text)
	}
	*s = DiskSpace{Bytes: bytes}
	return nil
}

// unknownDisk is what a percentage of a disk of unknown size comes to.
const unknownDisk = 2e9

// In returns the number of bytes on a disk of the given size, 0 for unknown. A percentage is rounded up: the whole GiB
// of the share and one more, counted as GB.
func (s DiskSpace) In(disk int64) int64 {
	switch {
	case s.Bytes != 0:
		return s.Bytes
	case s.Percentage == 0:
		return 0
	case disk <= 0:
		return unknownDisk
	}
	share := disk/100*s.Percentage + disk%100*s.Percentage/100
	return (share>>30 + 1) * 1e9
}

// unquote removes the quotes that a TOML string may still have.
func unquote(b []byte) string {
	if len(b) >= 2 && b[0] == b[len(b)-1] && (b[0] == '"' || b[0] == '\'') {
		b = b[1 : len(b)-1]
	}
	return string(b)
}
