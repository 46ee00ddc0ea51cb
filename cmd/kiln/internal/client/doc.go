// Package client talks to a daemon over the Control API: it dials addresses of
// every form people use, runs a build with its session beside it, and turns
// the daemon's errors back into what they were.
//
// # Addresses
//
// unix:///path, tcp://host:port (with TLS if configured), and the forms of
// connection helpers are refused with a list of what is known.
package client
