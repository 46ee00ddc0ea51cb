// Package control serves the builder over gRPC: the Control service, the
// bridge of gateway builds, sessions, the read-only content service and traces. It translates between the wire and the builder and decides
// nothing: every rule about builds is in the packages below.
//
// # Wire
//
// Package names, fields and metadata headers are those that existing clients
// send; the .proto files in solver/pb state them. Errors carry typed details
// (see rpcerr). Messages are bounded by MaxMessage.
//
// # Concurrency
//
// Every method may be called at any time from many connections.
package control
