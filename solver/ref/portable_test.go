package ref

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

// edited makes a layer over parent with what fn does to the mounted tree.
func (f *fixture) edited(parent *Ref, fn func(dir string) error) *Ref {
	f.t.Helper()
	a, err := f.Prepare(f.t.Context(), parent)
	if err != nil {
		f.t.Fatal(err)
	}
	dir, release, err := a.Dir(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	if err := errors.Join(fn(dir), release()); err != nil {
		f.t.Fatal(err)
	}
	r, err := a.Commit(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// tree has all files of a ref, directories with a value of "/".
func (f *fixture) tree(r *Ref) files {
	f.t.Helper()
	out := f.files(r)
	dir, release, err := r.Dir(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && p != dir {
			rel, _ := filepath.Rel(dir, p)
			out[rel] = "/"
		}
		return err
	})
	if err := errors.Join(err, release()); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// again replaces a directory by one with a single file.
func again(dir, name string) error {
	p := filepath.Join(dir, name)
	return errors.Join(os.RemoveAll(p), os.Mkdir(p, 0o755), os.WriteFile(filepath.Join(p, "new"), nil, 0o644))
}

// changes of a file system with d/one, d/sub/two and e/three: what the
// difference shows, and what it gives over one with d/one, d/other, d/new/x, e/z.
var changes = []struct {
	name   string
	edit   func(dir string) error
	diff   files
	onto   files
	linked bool // the layer was made portable
}{
	{"a new file", func(dir string) error { return writeFile(dir, "d/n") },
		files{"d": "/", "d/n": "d/n"}, files{"d": "/", "d/n": "d/n", "d/one": "1!", "d/other": "o", "e": "/", "e/z": "z"}, false},
	{"a stub made and removed", func(dir string) error {
		return errors.Join(writeFile(dir, "e/stub"), os.Remove(filepath.Join(dir, "e/stub")), writeFile(dir, "d/n"))
	}, files{"d": "/", "d/n": "d/n"}, files{"d": "/", "d/n": "d/n", "d/one": "1!", "d/other": "o", "e": "/", "e/z": "z"}, true},
	{"a file renamed away and back", func(dir string) error {
		a, b := filepath.Join(dir, "d/one"), filepath.Join(dir, "d/away")
		return errors.Join(os.Rename(a, b), os.Rename(b, a))
	}, files{}, files{"d": "/", "d/one": "1!", "d/other": "o", "e": "/", "e/z": "z"}, true},
	{"a directory made again", func(dir string) error { return again(dir, "d") },
		files{"d": "/", "d/new": ""}, files{"d": "/", "d/new": "", "d/other": "o", "e": "/", "e/z": "z"}, true},
	{"a directory deleted", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "d")) },
		files{}, files{"e": "/", "e/z": "z"}, false},
	{"a file for a directory", func(dir string) error {
		return errors.Join(os.RemoveAll(filepath.Join(dir, "d")), writeFile(dir, "d"))
	}, files{"d": "d"}, files{"d": "d", "e": "/", "e/z": "z"}, false},
	{"a directory for a file", func(dir string) error {
		return errors.Join(os.Remove(filepath.Join(dir, "e/three")), os.Mkdir(filepath.Join(dir, "e/three"), 0o755))
	}, files{"e": "/", "e/three": "/"}, files{"d": "/", "d/one": "1!", "d/other": "o", "e": "/", "e/three": "/", "e/z": "z"}, true},
}

// TestRules checks what a difference is and does elsewhere, on every kind of
// host, and that layers that can be laid anywhere are not made again.
func TestRules(t *testing.T) {
	for _, o := range []struct {
		name   string
		plain  bool
		change func(*Config)
	}{
		{name: "kiln", change: func(*Config) {}},
		{name: "no rebaser", change: func(c *Config) { c.Rebaser = nil }},
		{name: "unable", change: func(c *Config) { c.Rebaser = unable{} }},
		{name: "plain", plain: true, change: func(*Config) {}},
	} {
		t.Run(o.name, func(t *testing.T) {
			f := newFixture(t, hostOptions{plain: o.plain}, o.change)
			base := f.layer(nil, files{"d/one": "1", "d/sub/two": "2", "e/three": "3"})
			onto := f.layer(nil, files{"d/one": "1!", "d/other": "o", "e/z": "z"})
			for _, c := range changes {
				t.Run(c.name, func(t *testing.T) {
					upper := f.edited(base, c.edit)
					d, err := f.Diff(t.Context(), base, upper)
					if err != nil {
						t.Fatal(err)
					}
					if got := f.tree(d); !maps.Equal(got, c.diff) {
						t.Errorf("difference: got %v, want %v", got, c.diff)
					}
					if same := d.Chain()[0].ID() == upper.ID(); o.name == "kiln" && same == c.linked {
						t.Errorf("the difference is the layer itself: %v", same)
					}
					// The difference and the whole upper do the same to another tree.
					for what, top := range map[string]*Ref{"difference": d, "merge": upper} {
						want := maps.Clone(c.onto)
						if top == upper {
							maps.Copy(want, f.tree(upper))
						}
						m, err := f.Merge(t.Context(), []*Ref{onto, top})
						if err != nil {
							t.Fatal(err)
						}
						if got := f.tree(m); !maps.Equal(got, want) {
							t.Errorf("%s over another tree: got %v, want %v", what, got, want)
						}
						f.release(m)
					}
					f.sameBlobs(d, upper)
					f.release(d, upper)
				})
			}
			f.release(base, onto)
			if l := f.left(); l != (left{}) {
				t.Errorf("left behind: %+v", l)
			}
		})
	}
}

// sameBlobs checks that the layer of a difference has the blob that it has in
// the whole.
func (f *fixture) sameBlobs(d, whole *Ref) {
	f.t.Helper()
	all, err := whole.Layers(f.t.Context(), LayerOptions{}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	one, err := d.Layers(f.t.Context(), LayerOptions{}, nil)
	if err != nil || len(one) != 1 {
		f.t.Fatalf("%d layers, %v", len(one), err)
	}
	if a, b := one[0].Descriptor.Digest, all[len(all)-1].Descriptor.Digest; a != b {
		f.t.Errorf("blob of the difference is %s, of the layer %s", a, b)
	}
}

// unable is a rebaser that gets no layer to see, as with mounts of its own.
type unable struct{}

func (unable) Portable(context.Context, []mount.Mount, []mount.Mount) (bool, error) {
	return false, errors.ErrUnsupported
}

func (unable) Rebase(context.Context, []mount.Mount, []mount.Mount, string) error {
	return errors.ErrUnsupported
}

// TestPortableOnce checks that a portable form is made once, is found after a
// restart, and goes with the last who needs it.
func TestPortableOnce(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	base := f.layer(nil, files{"d/one": "1"})
	upper := f.edited(base, func(dir string) error { return again(dir, "d") })
	id := ""
	for range 2 {
		d, err := f.Diff(ctx, base, upper)
		if err != nil {
			t.Fatal(err)
		}
		if part := d.Chain()[0].ID(); id == "" {
			id = part
		} else if part != id {
			t.Errorf("made again as %s, was %s", part, id)
		}
		f.keep(upper)
		f.keep(d)
		f.release(d, base, upper)
		f.reopen()
		if upper, err = f.Get(ctx, upper.ID()); err != nil {
			t.Fatal(err)
		}
		if base, err = f.Get(ctx, base.ID()); err != nil {
			t.Fatal(err)
		}
	}
	f.release(base, upper)
	if err := f.Prune(ctx, PruneOptions{All: true}, nil); err != nil {
		t.Fatal(err)
	}
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
}

// TestMergedTwice checks that what was merged twice counts as twice: the
// difference to the first time has the second.
func TestMergedTwice(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		merge := func(refs ...*Ref) *Ref {
			t.Helper()
			m, err := f.Merge(ctx, refs)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		a, b := f.layer(nil, files{"a": "1"}), f.layer(nil, files{"b": "2"})
		ab := merge(a, b)
		twice := merge(ab, a)
		gone := f.layer(twice, files{"b": "-"})
		d, err := f.Diff(ctx, ab, gone)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.files(d); !maps.Equal(got, files{"a": "1"}) {
			t.Errorf("difference: %v", got)
		}
		m := merge(b, d)
		if got := f.files(m); !maps.Equal(got, files{"a": "1"}) {
			t.Errorf("merged: %v", got)
		}
		// Laid over what it is made of, a layer is at home.
		if same := merge(ab, gone); len(same.Chain()) != 3 {
			t.Errorf("%d layers", len(same.Chain()))
		} else {
			f.release(same)
		}
		f.release(a, b, ab, twice, gone, d, m)
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

// TestDiffToNothing deletes everything there was.
func TestDiffToNothing(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		lower := f.layer(nil, files{"d/one": "1", "f": "2"})
		onto := f.layer(nil, files{"d/one": "!", "z": "26"})
		d, err := f.Diff(t.Context(), lower, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Merge(t.Context(), []*Ref{onto, d})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.files(m); !maps.Equal(got, files{"z": "26"}) {
			t.Errorf("merged: %v", got)
		}
		f.release(lower, onto, d, m)
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}
