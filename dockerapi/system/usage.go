package system

import (
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/image"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// CacheRecord is one record of the build cache.
type CacheRecord struct {
	ID string
	// Parent is for clients before 1.42, Parents for later ones; its name has
	// a space in it.
	Parent      string   `json:",omitempty"`
	Parents     []string `json:" Parents,omitempty"`
	Type        string
	Description string
	InUse       bool
	Shared      bool
	Size        int64
	CreatedAt   time.Time
	LastUsedAt  *time.Time
	UsageCount  int64
}

// Kinds of things that take space.
const (
	kindContainer = "container"
	kindImage     = "image"
	kindVolume    = "volume"
	kindCache     = "build-cache"
)

// usageAnswer is the answer of GET /system/df. What was not asked for is null.
type usageAnswer struct {
	LayersSize  int64
	Images      []*image.Summary
	Containers  []struct{}
	Volumes     []struct{}
	BuildCache  []CacheRecord
	BuilderSize int64 `json:",omitempty"`
}

// usageTotals is one kind's part of the newer answer; Items only on demand.
type usageTotals struct {
	ActiveCount, TotalCount int64
	Reclaimable, TotalSize  int64
	Items                   any `json:",omitempty"`
}

// newerAnswer is the answer of GET /system/df since 1.52.
type newerAnswer struct {
	ImageUsage      *usageTotals `json:",omitempty"`
	ContainerUsage  *usageTotals `json:",omitempty"`
	VolumeUsage     *usageTotals `json:",omitempty"`
	BuildCacheUsage *usageTotals `json:",omitempty"`
}

// usage answers GET /system/df.
func (s *Server) usage(w http.ResponseWriter, r *http.Request, _ string) error {
	v := route.VersionOf(r)
	wanted := map[string]bool{kindContainer: true, kindImage: true, kindVolume: true, kindCache: true}
	if list := r.Form["type"]; len(list) > 0 && !v.Before(42) {
		chosen := map[string]bool{}
		for _, kind := range list {
			if !wanted[kind] {
				return fmt.Errorf("unknown object type: %s: %w", kind, errdefs.ErrInvalidArgument)
			}
			chosen[kind] = true
		}
		wanted = chosen
	}
	var a usageAnswer
	if wanted[kindImage] && s.cfg.Images != nil {
		if err := s.imageUsage(r, v, &a); err != nil {
			return err
		}
	}
	if wanted[kindContainer] {
		a.Containers = []struct{}{}
	}
	if wanted[kindVolume] {
		a.Volumes = []struct{}{}
	}
	if wanted[kindCache] && s.cfg.Refs != nil {
		if err := s.cacheUsage(r, v, &a); err != nil {
			return err
		}
	}
	if v.Before(52) {
		return route.WriteJSON(w, http.StatusOK, a)
	}
	return route.WriteJSON(w, http.StatusOK, a.newer(route.Bool(r, "verbose")))
}

// imageUsage adds the images.
func (s *Server) imageUsage(r *http.Request, v route.Version, a *usageAnswer) (err error) {
	if a.Images, err = s.cfg.Images(r.Context(), v); err != nil {
		return err
	}
	for _, im := range a.Images {
		im.Manifests = nil
		im.Containers = max(im.Containers, 0)
	}
	if s.cfg.ImagesSize != nil {
		a.LayersSize, err = s.cfg.ImagesSize(r.Context())
	}
	return err
}

// cacheUsage adds the build cache.
func (s *Server) cacheUsage(r *http.Request, v route.Version, a *usageAnswer) error {
	list, err := s.cfg.Refs.Usage(r.Context(), nil)
	if err != nil {
		return fmt.Errorf("error getting build cache usage: %w", err)
	}
	a.BuildCache = make([]CacheRecord, 0, len(list))
	for _, u := range list {
		c := CacheRecord{
			ID: u.ID, Parents: u.Parents, Type: u.RecordType, Description: u.Description, InUse: u.InUse, Shared: u.Shared,
			Size: u.Size, CreatedAt: u.CreatedAt, LastUsedAt: u.LastUsedAt, UsageCount: u.UsageCount,
		}
		if v.Before(42) {
			if c.Parents = nil; len(u.Parents) > 0 {
				c.Parent = u.Parents[0]
			}
			a.BuilderSize += c.Size
		}
		a.BuildCache = append(a.BuildCache, c)
	}
	return nil
}

// newer is the answer in the newer shape. No image is in use: there are no
// containers.
func (a *usageAnswer) newer(verbose bool) newerAnswer {
	var out newerAnswer
	if a.Images != nil {
		out.ImageUsage = &usageTotals{TotalCount: int64(len(a.Images)), Reclaimable: a.LayersSize, TotalSize: a.LayersSize}
		if verbose {
			out.ImageUsage.Items = a.Images
		}
	}
	if a.Containers != nil {
		out.ContainerUsage = &usageTotals{}
	}
	if a.Volumes != nil {
		out.VolumeUsage = &usageTotals{}
	}
	if a.BuildCache == nil {
		return out
	}
	c := &usageTotals{TotalCount: int64(len(a.BuildCache))}
	for _, r := range a.BuildCache {
		c.TotalSize += r.Size
		if r.InUse {
			c.ActiveCount++
		} else if !r.Shared {
			c.Reclaimable += r.Size
		}
	}
	if verbose {
		c.Items = a.BuildCache
	}
	out.BuildCacheUsage = c
	return out
}
