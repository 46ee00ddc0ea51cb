// Package auth holds the service by which a client lends registry credentials.
//
// The code is generated; see the .proto file for what each message means.
package auth
