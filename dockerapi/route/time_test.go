package route

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "0": time.Unix(0, 0), "1700000000": time.Unix(1700000000, 0), "1700000000.000000001": time.Unix(1700000000, 1),
		"1700000000.5": time.Unix(1700000000, 500000000), "10m": now.Add(-10 * time.Minute), "-1h": now.Add(time.Hour),
		"2024-01-02T03:04:05Z": time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), "2024-01-02T03:04:05.5+01:00": time.Date(2024, 1, 2, 2, 4, 5, 5e8, time.UTC),
		"2024-01-02": time.Date(2024, 1, 2, 0, 0, 0, 0, time.Local), "2024-01-02T03:04": time.Date(2024, 1, 2, 3, 4, 0, 0, time.Local),
	} {
		if got, err := Time(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "1.2.3", "1.0000000001", "99999999999999999999", "2024-13-01", "1.-5"} {
		if got, err := Time(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
