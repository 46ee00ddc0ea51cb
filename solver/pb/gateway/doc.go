// Package gateway holds the LLBBridge service, which frontends call.
//
// The code is generated; see the .proto file for what each message means.
package gateway
