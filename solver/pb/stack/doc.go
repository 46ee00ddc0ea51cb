// Package stack holds stack traces in the details of errors.
//
// The code is generated; see the .proto file for what each message means.
package stack
