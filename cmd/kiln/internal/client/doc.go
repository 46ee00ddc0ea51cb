// Package client talks to a daemon over the Control API: it dials addresses of
// every form people use, runs a build with its session beside it, and turns
// the daemon's errors back into what they were. It promises that a build that
// returns has left nothing running behind: no session, no stream, no process.
//
// # Addresses
//
//   - unix:///path and tcp://host:port, the latter with TLS if configured.
//   - docker-container://NAME, podman-container://NAME,
//     nerdctl-container://NAME, kube-pod://POD and ssh://HOST: a command that
//     reaches the far side and runs "buildctl dial-stdio" there.
//
// # Concurrency
//
// A Client is safe for concurrent use; Build calls Events from one goroutine.
package client
