// Package pb holds the build graph as it travels on the wire.
//
// The code is generated, but for the JSON forms of messages with a oneof; see
// the .proto file for what each message means.
package pb
