// Package apicaps holds the list entries with which two sides compare abilities.
//
// The code is generated; see the .proto file for what each message means.
package apicaps
