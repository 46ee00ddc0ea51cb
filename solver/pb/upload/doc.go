// Package upload holds the service by which a client streams a file to the daemon.
//
// The code is generated; see the .proto file for what each message means.
package upload
