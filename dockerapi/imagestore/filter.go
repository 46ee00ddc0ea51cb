package imagestore

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// Filter chooses images; its zero value chooses all. Whatever is set must
// hold; of References one must.
type Filter struct {
	// Dangling, if set, wants images with or without a name.
	Dangling *bool
	// Labels and NotLabels are "key" or "key=value".
	Labels, NotLabels []string
	// Before and Since name images that must have been created later or
	// earlier.
	Before, Since []string
	// Until wants names given before.
	Until time.Time
	// References are patterns of names, with or without tag.
	References []string
}

// label is one condition on labels.
type label struct {
	key, value string
	exact, not bool
}

func labelConditions(f Filter) []label {
	var out []label
	add := func(list []string, not bool) {
		for _, text := range list {
			l := label{not: not}
			l.key, l.value, l.exact = strings.Cut(text, "=")
			if key, ok := strings.CutSuffix(l.key, "!"); ok {
				l.key, l.not = key, !not
			}
			out = append(out, l)
		}
	}
	add(f.Labels, false)
	add(f.NotLabels, true)
	return out
}

// holds tells whether labels meet the condition.
func (l label) holds(labels map[string]string) bool {
	value, ok := labels[l.key]
	if l.exact {
		ok = ok && value == l.value
	}
	return ok != l.not
}

// chooser is a Filter with its images looked up.
type chooser struct {
	store         *Store
	filter        Filter
	labels        []label
	before, since []time.Time
}

// choose looks up the images that a filter names. One that is not there is
// errdefs NotFound, a pattern that is none InvalidArgument.
func (s *Store) choose(ctx context.Context, f Filter) (*chooser, error) {
	c := &chooser{store: s, filter: f, labels: labelConditions(f)}
	var err error
	if c.before, err = s.creations(ctx, f.Before); err != nil {
		return nil, err
	}
	if c.since, err = s.creations(ctx, f.Since); err != nil {
		return nil, err
	}
	for _, p := range f.References {
		if _, err := path.Match(p, ""); err != nil {
			return nil, kind(errdefs.ErrInvalidArgument, "invalid filter 'reference=%s': %s", p, err)
		}
	}
	return c, nil
}

// creations are when images were made.
func (s *Store) creations(ctx context.Context, names []string) ([]time.Time, error) {
	var out []time.Time
	for _, name := range names {
		im, err := s.Resolve(ctx, name)
		if err != nil {
			return nil, err
		}
		v, err := s.Best(ctx, im, nil)
		if err != nil {
			return nil, err
		}
		all, err := s.Names(ctx, im.Target.Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, Made(&v, all))
	}
	return out, nil
}

// Made is when an image was made, as the configuration of a variant says. One
// without layers need not say it: then it is when the store got it under the
// first of its names, so that such images have an order, too. The variant may
// be nil.
func Made(v *Variant, all []images.Image) time.Time {
	if v != nil && v.Config != nil && v.Config.Created != nil {
		return *v.Config.Created
	}
	var first time.Time
	for _, im := range all {
		if first.IsZero() || im.CreatedAt.Before(first) {
			first = im.CreatedAt
		}
	}
	return first
}

// entry tells what can be told by the entry alone.
func (c *chooser) entry(im images.Image) bool {
	f := &c.filter
	if f.Dangling != nil && *f.Dangling != Dangling(im.Name) || !f.Until.IsZero() && !im.CreatedAt.Before(f.Until) {
		return false
	}
	if len(f.References) == 0 {
		return true
	}
	ref, err := reference.ParseNormalizedNamed(im.Name)
	if err != nil {
		return false
	}
	for _, p := range f.References {
		// Patterns were checked.
		if ok, err := reference.FamiliarMatch(p, ref); err == nil && ok {
			return true
		}
	}
	return false
}

// content tells what takes the image's configurations.
func (c *chooser) content(all []Variant, names []images.Image) bool {
	if len(c.before)+len(c.since)+len(c.labels) == 0 {
		return true
	}
	for i := range all {
		if c.variant(&all[i], names) {
			return true
		}
	}
	return false
}

func (c *chooser) variant(v *Variant, names []images.Image) bool {
	if v.Config == nil {
		return false
	}
	at := Made(v, names)
	for _, t := range c.before {
		if !at.Before(t) {
			return false
		}
	}
	for _, t := range c.since {
		if !at.After(t) {
			return false
		}
	}
	for _, l := range c.labels {
		if !l.holds(v.Config.Config.Labels) {
			return false
		}
	}
	return true
}

// Listed is one image of a list.
type Listed struct {
	// Names are all entries that the filter lets through, real ones first.
	Names    []images.Image
	Variants []Variant
	// Made is when the image was made.
	Made time.Time
}

// List returns the images that a filter chooses.
func (s *Store) List(ctx context.Context, f Filter) ([]Listed, error) {
	c, err := s.choose(ctx, f)
	if err != nil {
		return nil, err
	}
	entries, err := s.cfg.Images.List(s.ctx(ctx))
	if err != nil {
		return nil, err
	}
	all, byID, order := map[string][]images.Image{}, map[string][]images.Image{}, []string{}
	for _, im := range entries {
		id := im.Target.Digest.String()
		all[id] = append(all[id], im)
		if !c.entry(im) {
			continue
		}
		if byID[id] == nil {
			order = append(order, id)
		}
		byID[id] = append(byID[id], im)
	}
	var out []Listed
	for _, id := range order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l := Listed{Names: named(byID[id])}
		if l.Variants, err = s.Variants(ctx, l.Names[0].Target); err != nil && !errdefs.IsInvalidArgument(err) {
			return nil, err
		}
		l.Made = Made(s.Pick(l.Variants, nil), all[id])
		if c.content(l.Variants, all[id]) {
			out = append(out, l)
		}
	}
	return out, nil
}
