package ref

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
)

// Usage describes a ref for listings.
type Usage struct {
	ID      string
	Mutable bool
	// InUse refs are held, or something made of them is.
	InUse bool
	// Size in bytes of the own layer's files and blobs; 0 while it is written.
	Size       int64
	CreatedAt  time.Time
	LastUsedAt *time.Time
	UsageCount int64
	// Description is free text, RecordType one of the Type constants.
	Description, RecordType string
	// Shared refs are also used by images outside the builder.
	Shared  bool
	Parents []string
}

// Field makes Usage a filters.Adaptor: id, parents (joined by ";"),
// description, type, and the flags inuse, mutable, immutable, shared, private.
func (u *Usage) Field(path []string) (string, bool) {
	if len(path) != 1 {
		return "", false
	}
	flag := func(on bool) (string, bool) { return "", on }
	switch path[0] {
	case "id":
		return u.ID, u.ID != ""
	case "parents":
		return strings.Join(u.Parents, ";"), len(u.Parents) > 0
	case "description":
		return u.Description, u.Description != ""
	case "type":
		return u.RecordType, u.RecordType != ""
	case "inuse":
		return flag(u.InUse)
	case "mutable":
		return flag(u.Mutable)
	case "immutable":
		return flag(!u.Mutable)
	case "shared":
		return flag(u.Shared)
	case "private":
		return flag(!u.Shared)
	case "size":
		return strconv.FormatInt(u.Size, 10), true
	}
	return "", false
}

// item is a ref while usage is worked out.
type item struct {
	Usage
	info     Info
	lease    string
	owners   []string
	kids     int
	kept     bool
	stored   bool
	writable bool // being written right now
	blobs    int64
	measured int64
}

// Usage lists the refs that match any of filters, all for none, ordered by id:
// those on disk and those known to this process only. Sizes that nobody asked
// for before are measured, without holding anything up.
func (s *Store) Usage(ctx context.Context, filter []string) ([]Usage, error) {
	match, err := parseFilters(filter)
	if err != nil {
		return nil, err
	}
	items, err := s.inventory(ctx)
	if err != nil {
		return nil, err
	}
	var out []Usage
	for _, it := range items {
		if !match.Match(&it.Usage) {
			continue
		}
		if err := s.measure(ctx, it); err != nil {
			return nil, err
		}
		out = append(out, it.Usage)
	}
	slices.SortFunc(out, func(a, b Usage) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// parseFilters reads alternatives in containerd's filter syntax.
func parseFilters(list []string) (filters.Filter, error) {
	f, err := filters.ParseAll(list...)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w: %w", list, err, errdefs.ErrInvalidArgument)
	}
	return f, nil
}

// inventory returns all refs by id, without the sizes that would have to be
// measured. It reads the records in one go and holds no lock meanwhile.
func (s *Store) inventory(ctx context.Context) (map[string]*item, error) {
	items := map[string]*item{}
	err := s.db.each(func(rec *record, used usedRecord, size int64) error {
		items[rec.ID] = s.newItem(rec, used, size)
		items[rec.ID].stored = true
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	s.mu.Lock()
	for id, e := range s.entries {
		it := items[id]
		if it == nil {
			it = s.newItem(&e.rec, usedRecord{}, sizeUnknown)
			items[id] = it
		}
		it.InUse = it.InUse || e.holds > 0
		it.writable = e.rec.Kind == kindActive || e.rec.Kind == kindMutable && e.holds > 0
	}
	for id, it := range items {
		if _, dying := s.dying[it.lease]; dying {
			delete(items, id)
		}
	}
	s.mu.Unlock()
	if err := s.markShared(ctx, items); err != nil {
		return nil, err
	}
	for _, it := range items {
		for _, o := range it.owners {
			if owner := items[o]; owner != nil {
				owner.kids++
			}
		}
		if it.InUse {
			markInUse(items, it.owners)
		}
	}
	return items, nil
}

// newItem describes a record.
func (s *Store) newItem(rec *record, used usedRecord, size int64) *item {
	used, size = s.used.merge(rec.ID, used, size)
	info := recordInfo(rec)
	it := &item{
		Usage: Usage{
			ID:          rec.ID,
			Mutable:     rec.Kind == kindMutable || rec.Kind == kindActive,
			CreatedAt:   rec.CreatedAt,
			UsageCount:  used.count,
			Description: rec.Description,
			RecordType:  info.RecordType,
			Parents:     info.Parents,
		},
		info:     info,
		lease:    rec.Lease,
		owners:   rec.owners(),
		kept:     rec.Kept,
		measured: size,
	}
	if !used.last.IsZero() {
		last := used.last
		it.LastUsedAt = &last
	}
	seen := map[string]bool{}
	for _, b := range rec.Blobs {
		if d := b.Descriptor.Digest.String(); !seen[d] && !b.Linked {
			seen[d] = true
			it.blobs += b.Descriptor.Size
		}
	}
	return it
}

// markInUse marks what a ref in use is made of.
func markInUse(items map[string]*item, ids []string) {
	for _, id := range ids {
		if it := items[id]; it != nil && !it.InUse {
			it.InUse = true
			markInUse(items, it.owners)
		}
	}
}

// markShared marks what images outside the builder use, with all below.
func (s *Store) markShared(ctx context.Context, items map[string]*item) error {
	if s.cfg.External == nil {
		return nil
	}
	external, err := s.cfg.External(s.ctx(ctx))
	if err != nil {
		return fmt.Errorf("look for images that share layers: %w", err)
	}
	var mark func(it *item)
	mark = func(it *item) {
		if it == nil || it.Shared {
			return
		}
		it.Shared = true
		for _, o := range it.owners {
			mark(items[o])
		}
	}
	for _, it := range items {
		if !it.Shared && external(it.info) {
			mark(it)
		}
	}
	return nil
}

// measure fills in the size of a ref.
func (s *Store) measure(ctx context.Context, it *item) error {
	if it.writable {
		it.Size = 0 // it is changing
		return nil
	}
	if it.measured == sizeUnknown {
		use, err := s.cfg.Snapshotter.Usage(s.ctx(ctx), it.info.Snapshot)
		switch {
		case errdefs.IsNotFound(err):
			it.Size = it.blobs
			return nil
		case err != nil:
			return fmt.Errorf("measure ref %s: %w", it.ID, err)
		}
		it.measured = use.Size
		s.used.resized(it.ID, use.Size)
	}
	it.Size = it.measured + it.blobs
	return nil
}
