package remote

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// MediaTypeConfig is the media type of a Config as a blob.
const MediaTypeConfig = "application/vnd.buildkit.cacheconfig.v0"

// MaxConfig bounds the bytes of a Config. That bounds also how many records
// and links there can be.
const MaxConfig = 16 << 20

// Root is the Parent of a layer without one.
const Root = -1

// Config is the document of a cache; field names and their order, and what is
// left out when it is zero, are wire format facts.
type Config struct {
	Layers  []Layer  `json:"layers,omitempty"`
	Records []Record `json:"records,omitempty"`
}

// Layer is a layer on top of another one.
type Layer struct {
	Blob digest.Digest `json:"blob,omitempty"`
	// Parent is the index of the layer below, or Root. The index 0 is left
	// out: a layer without the field is on top of the first one.
	Parent int `json:"parent,omitempty"`
	// About describes the blob in caches that have no other place for it.
	About *LayerInfo `json:"annotations,omitempty"`
}

// LayerInfo describes the blob of a layer.
type LayerInfo struct {
	MediaType string        `json:"mediaType,omitempty"`
	DiffID    digest.Digest `json:"diffID,omitempty"`
	Size      int64         `json:"size,omitempty"`
	CreatedAt time.Time     `json:"createdAt"`
}

// Record is one value.
type Record struct {
	// Results are stacks that follow parents, Chains those that do not.
	Results []TopLayer `json:"layers,omitempty"`
	Chains  []Chain    `json:"chains,omitempty"`
	// Digest names op and output.
	Digest digest.Digest `json:"digest,omitempty"`
	// Inputs has for each input the alternatives.
	Inputs [][]Input `json:"inputs,omitempty"`
}

// TopLayer is a result that ends in a layer, with all below it.
type TopLayer struct {
	Layer     int       `json:"layer"`
	CreatedAt time.Time `json:"createdAt"`
}

// Chain is a result of exactly these layers, base first.
type Chain struct {
	Layers    []int     `json:"layers"`
	CreatedAt time.Time `json:"createdAt"`
}

// Input is one alternative of an input.
type Input struct {
	Selector string `json:"selector,omitempty"`
	// Link is the index of a record.
	Link int `json:"link"`
}

// ParseConfig reads a Config that anybody may have written. What it returns
// refers to nothing out of range and has no circles. Errors are errdefs
// InvalidArgument and name the place.
func ParseConfig(data []byte) (*Config, error) {
	if len(data) > MaxConfig {
		return nil, invalid("it has %d bytes, at most %d", len(data), MaxConfig)
	}
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, invalid("%v", err)
	}
	return &c, c.Validate()
}

// ParseRecords reads the records that an image carries, for whose layers the
// caller adds those of the image, each on top of the one before.
func ParseRecords(data []byte, layers []Layer) (*Config, error) {
	if len(data) > MaxConfig {
		return nil, invalid("it has %d bytes, at most %d", len(data), MaxConfig)
	}
	c := &Config{Layers: layers}
	if err := json.Unmarshal(data, &c.Records); err != nil {
		return nil, invalid("%v", err)
	}
	return c, c.Validate()
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("cache config: "+format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// Validate checks indexes and digests and that nothing goes in circles.
func (c *Config) Validate() error {
	for i, l := range c.Layers {
		if err := l.Blob.Validate(); err != nil {
			return invalid("layer %d: blob %.100q: %v", i, l.Blob, err)
		}
		if l.Parent < Root || l.Parent >= len(c.Layers) {
			return invalid("layer %d: parent %d of %d layers", i, l.Parent, len(c.Layers))
		}
	}
	for i := range c.Records {
		if err := c.validateRecord(i); err != nil {
			return err
		}
	}
	err := acyclic(len(c.Layers), func(i int) []int {
		if p := c.Layers[i].Parent; p != Root {
			return []int{p}
		}
		return nil
	})
	if err != nil {
		return invalid("layers: %v", err)
	}
	if err := acyclic(len(c.Records), func(i int) []int { return c.Records[i].links() }); err != nil {
		return invalid("records: %v", err)
	}
	return nil
}

func (c *Config) validateRecord(i int) error {
	r := &c.Records[i]
	if err := r.Digest.Validate(); err != nil {
		return invalid("record %d: digest %.100q: %v", i, r.Digest, err)
	}
	for _, res := range r.Results {
		if res.Layer < 0 || res.Layer >= len(c.Layers) {
			return invalid("record %d: layer %d of %d", i, res.Layer, len(c.Layers))
		}
	}
	for _, chain := range r.Chains {
		for _, l := range chain.Layers {
			if l < 0 || l >= len(c.Layers) {
				return invalid("record %d: layer %d of %d in a chain", i, l, len(c.Layers))
			}
		}
	}
	for n, alternatives := range r.Inputs {
		if len(alternatives) == 0 {
			return invalid("record %d: input %d is empty", i, n)
		}
		for _, in := range alternatives {
			if in.Link < 0 || in.Link >= len(c.Records) {
				return invalid("record %d: input %d: link %d of %d records", i, n, in.Link, len(c.Records))
			}
		}
	}
	return nil
}

// links are the records that the inputs may be.
func (r *Record) links() []int {
	var out []int
	for _, alternatives := range r.Inputs {
		for _, in := range alternatives {
			out = append(out, in.Link)
		}
	}
	return out
}

// acyclic reports a circle among n things. It uses no recursion: a chain may be
// as long as a document allows.
func acyclic(n int, next func(int) []int) error {
	type frame struct {
		at   int
		left []int
	}
	const (
		unseen = iota
		open
		closed
	)
	state := make([]int, n)
	for start := range n {
		if state[start] != unseen {
			continue
		}
		state[start] = open
		stack := []frame{{start, next(start)}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if len(f.left) == 0 {
				state[f.at] = closed
				stack = stack[:len(stack)-1]
				continue
			}
			to := f.left[0]
			f.left = f.left[1:]
			switch state[to] {
			case open:
				return fmt.Errorf("number %d is below itself", to)
			case unseen:
				state[to] = open
				stack = append(stack, frame{to, next(to)})
			}
		}
	}
	return nil
}
