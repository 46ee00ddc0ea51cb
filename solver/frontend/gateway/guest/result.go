package guest

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// ref is a graph that the host holds.
type ref struct {
	client gateway.LLBBridgeClient
	id     string
	def    *pb.Definition
}

// Definition returns the graph as the host gave it.
func (r *ref) Definition(context.Context) (*pb.Definition, error) { return r.def, nil }

// Evaluate runs what the graph needs.
func (r *ref) Evaluate(ctx context.Context) error {
	_, err := r.client.Evaluate(ctx, &gateway.EvaluateRequest{Ref: r.id})
	return err
}

// ReadFile reads a file of the result.
func (r *ref) ReadFile(ctx context.Context, path string, offset, length int64) ([]byte, error) {
	req := &gateway.ReadFileRequest{Ref: r.id, FilePath: path}
	if offset != 0 || length != 0 {
		req.Range = &gateway.FileRange{Offset: offset, Length: length}
	}
	resp, err := r.client.ReadFile(ctx, req)
	return resp.GetData(), err
}

// ReadDir lists a directory of the result.
func (r *ref) ReadDir(ctx context.Context, path, pattern string) ([]*fsutil.Stat, error) {
	resp, err := r.client.ReadDir(ctx, &gateway.ReadDirRequest{Ref: r.id, DirPath: path, IncludePattern: pattern})
	return resp.GetEntries(), err
}

// StatFile describes a file of the result.
func (r *ref) StatFile(ctx context.Context, path string) (*fsutil.Stat, error) {
	resp, err := r.client.StatFile(ctx, &gateway.StatFileRequest{Ref: r.id, Path: path})
	return resp.GetStat(), err
}

// fromWire reads a result of the host.
func (b *bridge) fromWire(in *gateway.Result) (*frontend.Result, error) {
	out := &frontend.Result{Metadata: in.GetMetadata()}
	switch r := in.GetResult().(type) {
	case nil:
	case *gateway.Result_Ref:
		out.Ref = b.ref(r.Ref)
	case *gateway.Result_Refs:
		out.Refs = map[string]frontend.Ref{}
		for k, one := range r.Refs.GetRefs() {
			out.Refs[k] = b.ref(one)
		}
	default:
		// Both sides have said that they know the other forms.
		return nil, fmt.Errorf("the builder answered with a result of an old form (%T)", r)
	}
	for k, list := range in.GetAttestations() {
		for _, a := range list.GetAttestation() {
			if out.Attestations == nil {
				out.Attestations = map[string][]frontend.Attestation{}
			}
			out.Attestations[k] = append(out.Attestations[k], b.attestation(a))
		}
	}
	return out, nil
}

// ref returns the ref of an id; the empty one is the empty file system.
func (b *bridge) ref(in *gateway.Ref) frontend.Ref {
	if in.GetId() == "" {
		return nil
	}
	return &ref{client: b.client, id: in.GetId(), def: in.GetDef()}
}

func (b *bridge) attestation(in *gateway.Attestation) frontend.Attestation {
	out := frontend.Attestation{
		Kind: int(in.GetKind()), Metadata: in.GetMetadata(), Ref: b.ref(in.GetRef()), Path: in.GetPath(),
		PredicateType: in.GetInTotoPredicateType(),
	}
	for _, s := range in.GetInTotoSubjects() {
		out.Subjects = append(out.Subjects, frontend.Subject{Kind: int(s.GetKind()), Name: s.GetName(), Digests: s.GetDigest()})
	}
	return out
}

// toWire writes the frontend's result.
func toWire(res *frontend.Result) (*gateway.Result, error) {
	if res == nil {
		return nil, errors.New("the frontend has no result")
	}
	out := &gateway.Result{Metadata: res.Metadata}
	if res.Refs == nil {
		one, err := idOf(res.Ref)
		if err != nil {
			return nil, err
		}
		out.Result = &gateway.Result_Ref{Ref: one}
	} else {
		refs := map[string]*gateway.Ref{}
		for k, r := range res.Refs {
			one, err := idOf(r)
			if err != nil {
				return nil, err
			}
			refs[k] = one
		}
		out.Result = &gateway.Result_Refs{Refs: &gateway.RefMap{Refs: refs}}
	}
	for k, list := range res.Attestations {
		as := &gateway.Attestations{}
		for _, a := range list {
			one, err := idOf(a.Ref)
			if err != nil {
				return nil, err
			}
			st := &gateway.Attestation{
				Kind: gateway.AttestationKind(a.Kind), Metadata: a.Metadata, Ref: one, Path: a.Path, InTotoPredicateType: a.PredicateType,
			}
			for _, s := range a.Subjects {
				st.InTotoSubjects = append(st.InTotoSubjects, &gateway.InTotoSubject{
					Kind: gateway.InTotoSubjectKind(s.Kind), Name: s.Name, Digest: s.Digests,
				})
			}
			as.Attestation = append(as.Attestation, st)
		}
		if out.Attestations == nil {
			out.Attestations = map[string]*gateway.Attestations{}
		}
		out.Attestations[k] = as
	}
	return out, nil
}

// idOf returns the wire form of a ref that came from the host.
func idOf(r frontend.Ref) (*gateway.Ref, error) {
	if r == nil {
		return &gateway.Ref{}, nil
	}
	own, ok := r.(*ref)
	if !ok {
		return nil, fmt.Errorf("result %T is not the builder's", r)
	}
	return &gateway.Ref{Id: own.id, Def: own.def}, nil
}
