// Package worker holds what a daemon says of its workers.
//
// The code is generated; see the .proto file for what each message means.
package worker
