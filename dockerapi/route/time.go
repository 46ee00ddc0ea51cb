package route

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// layouts are the forms of times that clients send, beside seconds and
// durations. Those without a zone are in the zone of the machine.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02T15Z07:00", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02",
}

// Time reads a time: seconds since 1970 with or without a fraction, a date, or
// a duration before now. The empty text is the zero time.
func Time(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		return now.Add(-d), nil
	}
	if t, ok := unixTime(text); ok {
		return t, nil
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("invalid time %q: want seconds since 1970, a date or a duration: %w", text, errdefs.ErrInvalidArgument)
}

// unixTime reads "1700000000.000000001".
func unixTime(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec > math.MaxInt32*1000 || sec < -math.MaxInt32*1000 || len(fraction) > 9 {
		return time.Time{}, false
	}
	nano, err := strconv.ParseUint("0"+fraction+strings.Repeat("0", 9-len(fraction)), 10, 32)
	return time.Unix(sec, int64(nano)), err == nil
}
