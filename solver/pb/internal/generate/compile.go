package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// module is the import path that .proto files are known by. The full path
// keeps the names in the process-wide registry apart from those of others.
const module = "github.com/kilnbuild/kiln"

// findSources lists the .proto files below root/solver/pb by import path.
func findSources(root string) ([]string, error) {
	var sources []string
	base := filepath.Join(root, "solver", "pb")
	err := filepath.WalkDir(base, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".proto" {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		sources = append(sources, path.Join(module, filepath.ToSlash(rel)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find .proto files: %w", err)
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("no .proto files below %s: is -root the module directory?", base)
	}
	slices.Sort(sources)
	return sources, nil
}

// compile turns the sources into the request that a protoc plugin reads:
// descriptors of all files and their imports, imports first.
func compile(ctx context.Context, root string, sources []string) (*pluginpb.CodeGeneratorRequest, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(resolver(root)),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, sources...)
	if err != nil {
		return nil, fmt.Errorf("compile .proto files: %w", err)
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: sources}
	seen := map[string]bool{}
	for _, file := range files {
		addFile(file, seen, request)
	}
	return request, nil
}

// resolver finds our own files on disk and the one foreign import in the Go
// package that carries it.
func resolver(root string) protocompile.Resolver {
	return protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
		if name == status.File_google_rpc_status_proto.Path() {
			proto := protodesc.ToFileDescriptorProto(status.File_google_rpc_status_proto)
			return protocompile.SearchResult{Proto: proto}, nil
		}
		rel, ok := strings.CutPrefix(name, module+"/")
		if !ok {
			return protocompile.SearchResult{}, fmt.Errorf("import %s is neither ours nor known: %w", name, fs.ErrNotExist)
		}
		source, err := os.Open(filepath.Join(root, filepath.FromSlash(rel)))
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		// The compiler closes the source.
		return protocompile.SearchResult{Source: source}, nil
	})
}

// addFile appends a file after everything it imports.
func addFile(file protoreflect.FileDescriptor, seen map[string]bool, request *pluginpb.CodeGeneratorRequest) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		addFile(imports.Get(i).FileDescriptor, seen, request)
	}
	// Unlike protodesc this keeps the comments.
	request.ProtoFile = append(request.ProtoFile, protoutil.ProtoFromFileDescriptor(file))
}
