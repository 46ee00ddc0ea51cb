// Package errdefs holds the typed details of build errors.
//
// The code is generated; see the .proto file for what each message means.
package errdefs
