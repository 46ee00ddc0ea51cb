package rpcerr

import (
	"context"
	"errors"
	"io/fs"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/kilnbuild/kiln/solver"
)

// maxText bounds error texts on the wire, in bytes.
const maxText = 64 << 10

// kinds maps kinds of errors to codes, in the order of precedence. Those that
// are not sent always are for errors of calls only, see inBuild.
var kinds = []struct {
	is     error
	code   codes.Code
	always bool
}{
	{context.Canceled, codes.Canceled, true},
	{context.DeadlineExceeded, codes.DeadlineExceeded, true},
	{errdefs.ErrInvalidArgument, codes.InvalidArgument, false},
	{errdefs.ErrNotFound, codes.NotFound, false},
	{errdefs.ErrAlreadyExists, codes.AlreadyExists, false},
	{errdefs.ErrPermissionDenied, codes.PermissionDenied, false},
	{errdefs.ErrResourceExhausted, codes.ResourceExhausted, true},
	{errdefs.ErrFailedPrecondition, codes.FailedPrecondition, false},
	{errdefs.ErrAborted, codes.Aborted, false},
	{errdefs.ErrOutOfRange, codes.OutOfRange, false},
	{errdefs.ErrNotImplemented, codes.Unimplemented, false},
	{errdefs.ErrInternal, codes.Internal, true},
	{errdefs.ErrUnavailable, codes.Unavailable, false},
	{errdefs.ErrDataLoss, codes.DataLoss, false},
	{errdefs.ErrUnauthenticated, codes.Unauthenticated, false},
	{fs.ErrNotExist, codes.NotFound, false},
}

// Code returns the gRPC code of an error.
func Code(err error) codes.Code { return codeOf(err, false) }

// codeOf returns the code; exact tells it of errors in builds as well.
func codeOf(err error, exact bool) codes.Code {
	if err == nil {
		return codes.OK
	}
	var sub *solver.SubrequestError
	var missing *solver.CapError
	if errors.As(err, &sub) || errors.As(err, &missing) {
		return codes.Unimplemented
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) && (k.always || exact || !inBuild(err)) {
			return k.code
		}
	}
	// What came over the wire with a kind has been looked at above.
	var received *statusError
	if errors.As(err, &received) && !exact && inBuild(err) && hasKind(received.status.Code()) {
		return codes.Unknown
	}
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code()
	}
	return codes.Unknown
}

// hasKind reports whether kinds has the code.
func hasKind(code codes.Code) bool {
	for _, k := range kinds {
		if k.code == code {
			return true
		}
	}
	return false
}

// inBuild tells what went wrong in a step or a frontend from what is wrong with
// a call. Clients print the code of an error in front of its text, where
// "NotFound" about a file that a step wanted would only confuse; they match
// the text without it, too.
func inBuild(err error) bool {
	var step *solver.VertexError
	var front *solver.FrontendError
	return errors.As(err, &step) || errors.As(err, &front)
}

// ToStatus converts an error with its details; nil gives nil.
func ToStatus(err error) *statuspb.Status {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return &statuspb.Status{Code: int32(Code(err)), Message: text, Details: details(err)}
}

// ToGRPC converts an error to one that gRPC sends with its details.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	return status.ErrorProto(ToStatus(err))
}

// ForFrontend converts an error for a frontend, which tells kinds apart and shows
// nobody their names: the code is told of errors in builds as well.
func ForFrontend(err error) error {
	s := ToStatus(err)
	if s == nil {
		return nil
	}
	s.Code = int32(codeOf(err, true))
	return status.ErrorProto(s)
}

// statusError is an error that came over gRPC, with the sender's text.
type statusError struct {
	status *status.Status
}

// Error returns the text without gRPC's own prefix.
func (e *statusError) Error() string { return e.status.Message() }

// GRPCStatus returns the status as received.
func (e *statusError) GRPCStatus() *status.Status { return e.status }

// Is matches the kind that belongs to the code.
func (e *statusError) Is(target error) bool {
	for _, k := range kinds {
		if k.is == target {
			return k.code == e.status.Code()
		}
	}
	return false
}

// FromStatus converts a received status with its details; code OK gives nil.
func FromStatus(s *statuspb.Status) error {
	if s == nil || codes.Code(s.GetCode()) == codes.OK {
		return nil
	}
	var err error = &statusError{status.FromProto(&statuspb.Status{Code: s.GetCode(), Message: s.GetMessage()})}
	ds := s.GetDetails()
	for i := len(ds) - 1; i >= 0; i-- {
		err = wrap(ds[i], err)
	}
	return err
}

// FromGRPC converts an error of a gRPC call; others are returned as they are.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	return FromStatus(s.Proto())
}

// UnaryServer converts the errors of a server's unary calls.
func UnaryServer(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	if err != nil {
		return nil, ToGRPC(err)
	}
	return resp, nil
}

// StreamServer converts the errors of a server's streams.
func StreamServer(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return ToGRPC(handler(srv, ss))
}

// UnaryClient converts the errors of a client's unary calls.
func UnaryClient(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromGRPC(invoker(ctx, method, req, reply, cc, opts...))
}
