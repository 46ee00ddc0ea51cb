// Package pb is the root of the wire types; it holds no code itself.
//
// Each folder below is one Go package with one .proto file and what
// protoc-gen-go makes of it. The protobuf packages, message and field names
// and numbers are those that existing clients use; they are facts, not
// choices, and must not be changed. The words are ours.
//
// The types are plain data. Nothing here validates: what arrives from a
// client is to be treated as hostile until the package that reads it, for a
// build graph solver/llb, has checked it.
//
//	llb            the build graph (Op, Definition)
//	control        the Control service
//	gateway        the LLBBridge service for frontends
//	worker         worker records
//	apicaps        capability lists
//	sourcepolicy   source policies; policysession asks the client for one
//	filesync       directory transfer; fsutil holds its packets
//	auth, secrets, sshforward, upload, exporter
//	               services that the client offers in its session
//	errdefs, stack typed details of errors
//	diagnose       what kilnd tells for bug reports; no other daemon has it
//
// Regenerate with go generate after a change of a .proto file.
package pb

//go:generate go run ./internal/generate -root ../..
