// Package filesync holds the services that move directories between daemon and client.
//
// The code is generated; see the .proto file for what each message means.
package filesync
