// Package policysession holds the service by which a client decides on sources.
//
// The code is generated; see the .proto file for what each message means.
package policysession
