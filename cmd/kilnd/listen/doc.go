// Package listen opens the addresses a daemon is told to serve: unix sockets, TCP with or without TLS, and sockets
// handed over by systemd.
//
// # Vocabulary
//
// An address is scheme://rest with the schemes unix, tcp and fd. "fd://" is every socket systemd passed in that nobody
// took, "fd://name" those of one FileDescriptorName=; a socket keeps the owner and mode that its unit gave it. Mutual TLS asks clients for a certificate.
//
// # Lifecycle
//
// Open opens all addresses or none. Closing a unix listener removes its socket file. A socket file that a dead process
// left is replaced; one that somebody still answers on is an error.
//
// # What it does not do
//
// It accepts no connection and knows no protocol but TLS.
package listen
