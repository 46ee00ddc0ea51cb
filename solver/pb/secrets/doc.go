// Package secrets holds the service by which a client hands out secrets.
//
// The code is generated; see the .proto file for what each message means.
package secrets
