package rpcerr

import (
	"encoding/json"
	"os"
	"runtime"

	"google.golang.org/protobuf/types/known/anypb"
)

// maxFrames bounds a stack.
const maxFrames = 64

// stack is the JSON of a program's place at one moment, which clients print
// when they are asked for every detail of an error.
type stack struct {
	Frames  []frame  `json:"frames,omitempty"`
	Cmdline []string `json:"cmdline,omitempty"`
	Pid     int      `json:"pid,omitempty"`
}

type frame struct {
	Name string `json:"Name,omitempty"`
	File string `json:"File,omitempty"`
	Line int    `json:"Line,omitempty"`
}

// StackDetail is a detail that says which process tells of an error, and where
// its caller is in the code.
func StackDetail() *anypb.Any {
	pcs := make([]uintptr, maxFrames)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	out := stack{Cmdline: os.Args, Pid: os.Getpid()}
	for {
		f, more := frames.Next()
		out.Frames = append(out.Frames, frame{Name: f.Function, File: f.File, Line: f.Line})
		if !more {
			break
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		data = []byte("{}")
	}
	return &anypb.Any{TypeUrl: urlPrefix + "stack.Stack" + urlSuffix, Value: data}
}
