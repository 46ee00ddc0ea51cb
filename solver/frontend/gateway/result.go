package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
)

// toResult gives ids to the refs of a result. Older clients know ids only in
// the form without definitions.
func (s *Session) toResult(ctx context.Context, res *frontend.Result, array bool) (*gateway.Result, error) {
	out := &gateway.Result{Metadata: res.Metadata}
	refs := make(map[string]*gateway.Ref, len(res.Refs))
	for _, k := range slices.Sorted(maps.Keys(res.Refs)) {
		r, err := s.toRef(ctx, res.Refs[k])
		if err != nil {
			return nil, err
		}
		refs[k] = r
	}
	single, err := s.toRef(ctx, res.Ref)
	if err != nil {
		return nil, err
	}
	switch {
	case res.Refs != nil && array:
		out.Result = &gateway.Result_Refs{Refs: &gateway.RefMap{Refs: refs}}
	case res.Refs != nil:
		ids := make(map[string]string, len(refs))
		for k, r := range refs {
			ids[k] = r.GetId()
		}
		out.Result = &gateway.Result_RefsDeprecated{RefsDeprecated: &gateway.RefMapDeprecated{Refs: ids}}
	case array:
		out.Result = &gateway.Result_Ref{Ref: single}
	default:
		out.Result = &gateway.Result_RefDeprecated{RefDeprecated: single.GetId()}
	}
	for k, list := range res.Attestations {
		as := &gateway.Attestations{}
		for _, a := range list {
			r, err := s.toRef(ctx, a.Ref)
			if err != nil {
				return nil, err
			}
			out := &gateway.Attestation{
				Kind: gateway.AttestationKind(a.Kind), Metadata: a.Metadata, Ref: r, Path: a.Path,
				InTotoPredicateType: a.PredicateType,
			}
			for _, s := range a.Subjects {
				out.InTotoSubjects = append(out.InTotoSubjects, &gateway.InTotoSubject{
					Kind: gateway.InTotoSubjectKind(s.Kind), Name: s.Name, Digest: s.Digests,
				})
			}
			as.Attestation = append(as.Attestation, out)
		}
		if out.Attestations == nil {
			out.Attestations = map[string]*gateway.Attestations{}
		}
		out.Attestations[k] = as
	}
	return out, nil
}

func (s *Session) toRef(ctx context.Context, r frontend.Ref) (*gateway.Ref, error) {
	id, err := s.put(r)
	if err != nil || r == nil {
		return &gateway.Ref{}, err
	}
	def, err := r.Definition(ctx)
	if err != nil {
		return nil, err
	}
	return &gateway.Ref{Id: id, Def: def}, nil
}

// fromResult finds the refs that a frontend returns.
func (s *Session) fromResult(in *gateway.Result) (*frontend.Result, error) {
	if in == nil {
		return nil, fmt.Errorf("return: field result is missing: %w", errdefs.ErrInvalidArgument)
	}
	out := &frontend.Result{Metadata: in.GetMetadata()}
	var err error
	switch r := in.GetResult().(type) {
	case *gateway.Result_RefDeprecated:
		out.Ref, err = s.get(r.RefDeprecated)
	case *gateway.Result_Ref:
		out.Ref, err = s.get(r.Ref.GetId())
	case *gateway.Result_RefsDeprecated:
		out.Refs = map[string]frontend.Ref{}
		for k, id := range r.RefsDeprecated.GetRefs() {
			if out.Refs[k], err = s.get(id); err != nil {
				return nil, err
			}
		}
	case *gateway.Result_Refs:
		out.Refs = map[string]frontend.Ref{}
		for k, ref := range r.Refs.GetRefs() {
			if out.Refs[k], err = s.get(ref.GetId()); err != nil {
				return nil, err
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return out, s.attestations(in, out)
}

func (s *Session) attestations(in *gateway.Result, out *frontend.Result) error {
	for k, list := range in.GetAttestations() {
		if out.Refs != nil {
			if _, ok := out.Refs[k]; !ok {
				return fmt.Errorf("attestations for %q, which is not in the result: %w", k, errdefs.ErrInvalidArgument)
			}
		}
		for _, a := range list.GetAttestation() {
			ref, err := s.get(a.GetRef().GetId())
			if err != nil {
				return err
			}
			if out.Attestations == nil {
				out.Attestations = map[string][]frontend.Attestation{}
			}
			st := frontend.Attestation{
				Kind: int(a.GetKind()), Metadata: a.GetMetadata(), Ref: ref, Path: a.GetPath(),
				PredicateType: a.GetInTotoPredicateType(),
			}
			for _, sub := range a.GetInTotoSubjects() {
				st.Subjects = append(st.Subjects, frontend.Subject{
					Kind: int(sub.GetKind()), Name: sub.GetName(), Digests: sub.GetDigest(),
				})
			}
			out.Attestations[k] = append(out.Attestations[k], st)
		}
	}
	return nil
}
