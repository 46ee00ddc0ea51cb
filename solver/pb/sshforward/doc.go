// Package sshforward holds the service by which a client lends its SSH agent.
//
// The code is generated; see the .proto file for what each message means.
package sshforward
