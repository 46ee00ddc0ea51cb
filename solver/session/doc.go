// Package session lets the daemon call back into its clients. A client opens
// a session beside its build; through it the daemon asks for local files,
// credentials, secrets and an SSH agent, and sends results back. The package
// promises that a lost client is noticed, that waiting for a session is
// bounded, and that nothing is held for a session that has ended.
//
// # Vocabulary
//
//   - Session: one client's connection. The client is the gRPC server, the
//     daemon the gRPC client, over HTTP/2 inside whatever carried the session
//     here (a Control.Session stream or a hijacked POST /session).
//
//   - Manager: the sessions that are open now, by id.
//
//   - Shared key: what a client gives so that later sessions of the same
//     directory can reuse what an earlier one transferred.
//
//   - Memo: answers that hold for the length of a session.
//
//   - AgentSocket: the client's SSH agent behind a socket of this machine.
//
// # Lifecycle
//
// Manager.Serve owns a session from the handshake until the connection ends,
// the health check fails twice, or its context is cancelled.
//
// # What it does not do
//
// The protocol of file transfers is in the sub-package files.
package session
