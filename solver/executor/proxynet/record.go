package proxynet

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Bounds of one record. A build that fetches more is told so in the record.
const (
	maxRequests   = 50_000
	maxRecordSize = 32 << 20
)

// record collects what a session's processes ask for.
type record struct {
	mu      sync.Mutex
	traffic solver.Traffic
	count   int
	size    int
	full    bool
}

// room notes that n more bytes are recorded, and reports whether there is room
// for them. The lock is held.
func (r *record) room(n int) bool {
	r.count++
	r.size += n
	if r.count <= maxRequests && r.size <= maxRecordSize {
		return true
	}
	if !r.full {
		r.full = true
		r.traffic.Incomplete = append(r.traffic.Incomplete, solver.IncompleteMaterial{Reason: solver.ReasonTooMany})
	}
	return false
}

func (r *record) request(q solver.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room(len(q.URL) + len(q.Location)) {
		r.traffic.Requests = append(r.traffic.Requests, q)
	}
}

func (r *record) material(address string, d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room(len(address)) {
		r.traffic.Materials = append(r.traffic.Materials, solver.Material{URL: address, Digest: d})
	}
}

func (r *record) incomplete(method, address, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room(len(address)) {
		r.traffic.Incomplete = append(r.traffic.Incomplete, solver.IncompleteMaterial{Method: method, URL: address, Reason: reason})
	}
}

// result is the record at the session's end. An address that redirected to
// something that was fetched is a material too: asking for it gives the same.
func (r *record) result() solver.Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.traffic
	digests := map[string]digest.Digest{}
	for _, m := range out.Materials {
		digests[m.URL] = m.Digest
	}
	// Redirects come before what they lead to: going backwards, one look at
	// each is enough.
	for i := len(out.Requests) - 1; i >= 0; i-- {
		q := out.Requests[i]
		target, fetched := digests[q.Location]
		if _, known := digests[q.URL]; known || !fetched || q.Location == "" {
			continue
		}
		digests[q.URL] = target
		out.Materials = append(out.Materials, solver.Material{URL: q.URL, Digest: target})
	}
	return out
}

// hidden takes the place of user names and passwords.
const hidden = "xxxxx"

// plain is a URL as it is recorded and judged: without credentials, and
// without a port that goes without saying.
func plain(u *url.URL) string {
	out := *u
	if out.User != nil {
		_, password := out.User.Password()
		switch {
		case password && out.User.Username() != "":
			out.User = url.UserPassword(hidden, hidden)
		case password:
			out.User = url.UserPassword("", hidden)
		case out.User.Username() != "":
			out.User = url.User(hidden)
		}
	}
	out.Host = strings.ToLower(out.Host)
	if port := out.Port(); port == "80" && out.Scheme == "http" || port == "443" && out.Scheme == "https" {
		out.Host = strings.TrimSuffix(out.Host, ":"+port)
	}
	out.Fragment, out.RawFragment = "", ""
	return out.String()
}

// location is where a response redirects to, absolute and plain.
func location(req *url.URL, h http.Header) string {
	l := h.Get("Location")
	if l == "" {
		return ""
	}
	u, err := req.Parse(l)
	if err != nil {
		return ""
	}
	return plain(u)
}

// bareHost is a host without port and brackets.
func bareHost(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
