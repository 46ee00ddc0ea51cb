package lower

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lint"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

const baseDigest = digest.Digest("sha256:1111111111111111111111111111111111111111111111111111111111111111")

// world is a resolver that knows images by reference; all others are one plain
// image.
type world struct {
	images   map[string]string // reference to configuration
	contexts map[string]LoadedContext
	ignored  []string
	epoch    *time.Time

	mu     sync.Mutex
	asked  []string
	follow []string
}

const plainImage = `{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},` +
	`"rootfs":{"type":"layers","diff_ids":["sha256:2222222222222222222222222222222222222222222222222222222222222222"]},"history":[{"created_by":"base"}]}`

func (w *world) Image(_ context.Context, ref string, _ ocispecs.Platform, logName string) (Image, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, logName)
	config, ok := w.images[ref]
	if !ok {
		config = plainImage
	}
	if config == "" {
		return Image{}, errors.New("not found")
	}
	return Image{Digest: baseDigest, Config: []byte(config)}, nil
}

type fixedContext LoadedContext

func (c fixedContext) Load(context.Context) (LoadedContext, error) { return LoadedContext(c), nil }

func (w *world) Context(_ context.Context, name string, _ ocispecs.Platform) (Context, error) {
	if loaded, ok := w.contexts[name]; ok {
		return fixedContext(loaded), nil
	}
	return nil, nil
}

func (w *world) Main(_ context.Context, follow []string) (compose.State, error) {
	w.follow = follow
	return compose.Local(compose.LocalSource{Name: "context", SessionID: "s", FollowPaths: follow}, compose.Info{}), nil
}

func (w *world) Ignored(context.Context) ([]string, error) { return w.ignored, nil }

func (w *world) Time(context.Context, compose.State, string) (*time.Time, error) { return w.epoch, nil }

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// outcome is a conversion in a form that is easy to compare.
type outcome struct {
	ops      []*pb.Op
	names    []string
	image    imageConfig
	warnings []string
	result   *Result
}

func convert(t testing.TB, w *world, opt Options, text string) (*outcome, error) {
	t.Helper()
	source, err := syntax.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	file, err := instruction.Parse(source)
	if err != nil {
		return nil, err
	}
	out := &outcome{}
	opt.Linter = lint.New(lint.Config{}, func(w lint.Warning) { out.warnings = append(out.warnings, w.Short()) })
	if opt.Platform == nil && opt.BuildPlatforms == nil {
		opt.Platform = &amd64
	}
	if out.result, err = Convert(t.Context(), file, &compose.Text{Filename: "Dockerfile"}, w, opt); err != nil {
		return out, err
	}
	if err := json.Unmarshal(out.result.Config, &out.image); err != nil {
		return out, err
	}
	def, err := compose.Marshal(out.result.Graph, compose.Options{Platform: out.result.Platform})
	if err != nil {
		return out, err
	}
	for _, encoded := range def.Def {
		op := &pb.Op{}
		if err := proto.Unmarshal(encoded, op); err != nil {
			return out, err
		}
		if op.Op == nil {
			continue
		}
		out.ops = append(out.ops, op)
		out.names = append(out.names, def.Metadata[digest.FromBytes(encoded).String()].GetDescription()["llb.customname"])
	}
	return out, nil
}

// must converts a file that has to work.
func must(t testing.TB, text string) *outcome {
	t.Helper()
	out, err := convert(t, &world{}, Options{}, text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// exec returns the n-th process, counted from 0.
func (o *outcome) exec(t testing.TB, n int) *pb.ExecOp {
	t.Helper()
	for _, op := range o.ops {
		if exec := op.GetExec(); exec != nil {
			if n == 0 {
				return exec
			}
			n--
		}
	}
	t.Fatal("no such process")
	return nil
}

// last returns the actions of the last file operation.
func (o *outcome) last(t testing.TB) []*pb.FileAction {
	t.Helper()
	for i := len(o.ops) - 1; i >= 0; i-- {
		if file := o.ops[i].GetFile(); file != nil {
			return file.Actions
		}
	}
	t.Fatal("no file operation")
	return nil
}

// history lists what the image remembers of the file's instructions.
func (o *outcome) history() []string {
	var lines []string
	for _, h := range o.image.History[min(1, len(o.image.History)):] {
		layer := "+"
		if h.EmptyLayer {
			layer = "-"
		}
		lines = append(lines, layer+" "+h.CreatedBy)
	}
	return lines
}

func (o *outcome) String() string { return strings.Join(o.names, "\n") }
