// Command generate writes the Go code of every .proto file below solver/pb.
//
// It needs no protoc: the files are compiled in process and handed to
// protoc-gen-go and protoc-gen-go-grpc, which go.mod pins as tools, so the
// same commit yields the same code on every machine. With -check nothing is
// written and the command fails, naming the files, when committed code is
// not what the sources yield.
//
// It does not format .proto files and does not judge them.
package main
