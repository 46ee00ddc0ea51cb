package solver

import (
	"github.com/opencontainers/go-digest"
)

// TrafficEvent tells what a process asked of the network, when that was put
// behind the recording proxy. It comes once for each run of a vertex, also of
// one that failed; a vertex whose result was there already has none.
type TrafficEvent struct {
	Vertex  digest.Digest
	Traffic Traffic
}

// Traffic is a record of requests. URLs have no credentials and no default
// ports in them.
type Traffic struct {
	// Requests are all requests, in the order of their answers.
	Requests []Request
	// Materials are what was fetched, each byte of it seen: what the output
	// may be made of.
	Materials []Material
	// Incomplete are requests whose answers do not count as materials. If
	// there are any, Materials is not all that the output may be made of.
	Incomplete []IncompleteMaterial
}

// Request is one request and the status of its answer.
type Request struct {
	Method string
	URL    string
	// Location is where the answer redirects to, absolute; often empty.
	Location string
	Status   int
}

// Material is something that has an address and a digest.
type Material struct {
	URL    string
	Digest digest.Digest
}

// IncompleteMaterial is a request and why its answer is no material.
type IncompleteMaterial struct {
	Method string
	URL    string
	// Reason is one of the Reason constants.
	Reason string
}

// Reasons of IncompleteMaterial; tools that read provenance know them, except
// the last.
const (
	// ReasonMethod: only GET asks for something that can be asked for again.
	ReasonMethod = "method_not_materializable"
	// ReasonPartial: a part was asked for, or given.
	ReasonPartial = "partial_response"
	// ReasonUnread: the answer broke off, or was not read to its end.
	ReasonUnread = "body_read_failed"
	// ReasonStatus: the server refused.
	ReasonStatus = "unsuccessful_response"
	// ReasonUpstream: the server was not reached.
	ReasonUpstream = "upstream_error"
	// ReasonTooMany: there were more requests than a record can have.
	ReasonTooMany = "too_many_requests"
)
