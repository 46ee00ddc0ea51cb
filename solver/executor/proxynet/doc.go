// Package proxynet puts the processes of a container into a network with
// nothing in it but a proxy that records, and may refuse, what they ask for.
// It promises that there is no other way out, and that every answer that a
// process got over HTTP or HTTPS is in the record.
//
// # Vocabulary
//
//   - Session: a namespace with a proxy in it, for one container.
//   - Authority: a certificate authority for one session. It signs a
//     certificate for each host that a process connects to with HTTPS, so that
//     the proxy can read along. Its key never leaves the memory of the daemon
//     and serves for no other session.
//   - Way out: how the proxy itself reaches servers.
//
// # How it works
//
// The namespace has loopback only. The proxy listens on an address of it; the
// socket belongs to the daemon, which is outside and so can reach servers.
// There is no device, no route and no name server that a process could use to
// get around it, and no packet of a process ever leaves.
//
// Requests come as to any proxy: with a whole URL, or through CONNECT. What is
// in a tunnel is read as HTTP over TLS, or as plain HTTP; everything else ends
// the connection. The host of the tunnel counts, whatever a request in it says.
//
// # Lifecycle
//
// Open makes a session, Close ends it when the container has ended: it waits a
// moment for answers that are under way, and returns the record. New removes
// the namespaces that a crashed daemon left.
//
// # Concurrency
//
// All methods are safe for concurrent use; Close is called once.
//
// # What it does not do
//
// It does not put the certificate into the container and does not decide which
// requests are allowed: see executor.ProxiedNetwork and executor.Gate.
package proxynet
