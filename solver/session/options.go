package session

import (
	"strconv"
	"time"
)

// Metadata of a session, lower case as on the wire.
const (
	headerID        = "x-docker-expose-session-uuid"
	headerSharedKey = "x-docker-expose-session-sharedkey"
	headerMethod    = "x-docker-expose-session-grpc-method"
	headerHealth    = "x-buildkit-session-health-custom-timeout"
)

// minHealthTimeout is the least health timeout a client may ask for.
const minHealthTimeout = time.Second

// ReadOptions reads a session's description from metadata or headers; values
// returns all values of a lower-case name.
func ReadOptions(values func(name string) []string) Options {
	first := func(name string) string {
		if v := values(name); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	opt := Options{ID: first(headerID), SharedKey: first(headerSharedKey), Methods: values(headerMethod)}
	if ms, err := strconv.ParseInt(first(headerHealth), 10, 32); err == nil {
		if d := time.Duration(ms) * time.Millisecond; d >= minHealthTimeout {
			opt.HealthTimeout = d
		}
	}
	return opt
}
