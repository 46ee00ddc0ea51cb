// Package control holds the Control service, its requests and its progress stream.
//
// The code is generated; see the .proto file for what each message means.
package control
