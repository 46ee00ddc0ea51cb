// Package hijack turns connections of the Engine API into something else: those
// of POST /grpc into ones of a gRPC server, those of POST /session into
// clients' sessions, and those that begin with HTTP/2 into ones of the gRPC
// server as well. It promises that no byte that a client sent early is lost,
// and that a connection has one owner at any time.
//
// # Vocabulary
//
//   - Upgrade: an HTTP/1 request with "Connection: Upgrade" and "Upgrade: h2c",
//     answered with status 101; from then on the connection is HTTP/2.
//   - Preface: the first bytes of every HTTP/2 connection, by which it is known
//     without an upgrade. Over TLS the protocol is agreed on beforehand.
//   - Listener: where the gRPC server gets these connections from.
//
// # What it does not do
//
// It speaks no HTTP/2 itself. Requests of the Engine API over HTTP/2 are not
// answered: no client sends any.
package hijack
