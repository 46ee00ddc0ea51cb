// Package exporter holds the service by which a client picks exporters late.
//
// The code is generated; see the .proto file for what each message means.
package exporter
