package lower

import (
	"errors"
	"fmt"
	"path"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// mounts adds the mounts of RUN. cmd.from has a stage for each.
func (c *conversion) mounts(s *stage, i *instruction.Run, cmd *command, work *execWork) error {
	for n, mount := range i.Mounts {
		from := cmd.from[n]
		name := mount.From
		if name == "" && mount.Type == instruction.MountCache {
			name = scratch
		}
		if name != "" && !from.lowered {
			return fmt.Errorf("cannot mount from stage %q to %q, stage needs to be defined before current command", name, mount.Target)
		}
		var err error
		switch mount.Type {
		case instruction.MountSecret:
			err = work.secret(s, mount, i.Ranges)
		case instruction.MountSSH:
			err = work.agent(s, mount, i.Ranges)
		default:
			err = c.directory(s, mount, name, from, work)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// directory adds a bind, cache or tmpfs mount. An empty name means the build
// context.
func (c *conversion) directory(s *stage, mount *instruction.Mount, name string, from *stage, work *execWork) error {
	source, reads := c.context, c.reads
	if name != "" {
		source, reads = from.files, from.reads
	}
	out := compose.Mount{ReadOnly: mount.ReadOnly, Dest: mount.Target}
	switch mount.Type {
	case instruction.MountTmpfs:
		source = nil
		out.Type, out.Size = compose.Tmpfs, mount.Size
	case instruction.MountCache:
		out.Type, out.Sharing, out.ID = compose.Cache, sharingOf(mount.Sharing), mount.ID
		if out.ID == "" {
			out.ID = path.Clean(mount.Target)
		}
		out.ID = c.opt.Exec.CacheNamespace + "/" + out.ID
	default:
		out.NoOutput = !mount.ReadOnly
	}
	if !path.IsAbs(path.Clean(out.Dest)) {
		out.Dest = path.Join("/", s.workdir(), out.Dest)
	}
	if out.Dest == "/" {
		return fmt.Errorf("invalid mount target %q", out.Dest)
	}
	if selector := path.Join("/", mount.Source); selector != "/" {
		out.Selector = selector
	} else if mount.UID != nil || mount.GID != nil || mount.Mode != nil {
		source, out.Selector = ownedCache(mount, source), "/cache"
	}
	work.mount(out, source)
	reads.add(mount.Source)
	return nil
}

// sharingOf is Shared unless something else was said.
func sharingOf(text string) compose.Sharing {
	switch text {
	case instruction.SharingPrivate:
		return compose.Private
	case instruction.SharingLocked:
		return compose.Locked
	}
	return compose.Shared
}

// ownedCache makes the directory that a new cache starts with.
func ownedCache(mount *instruction.Mount, base *node) *node {
	mkdir := compose.Mkdir{
		Path: "/cache", Mode: uint32(or(mount.Mode, 0o755)),
		Owner: &compose.Owner{
			User:  &compose.Identity{ID: uint32(or(mount.UID, 0))},
			Group: &compose.Identity{ID: uint32(or(mount.GID, 0))},
		},
	}
	return &node{
		label: label{name: "[internal] setting cache mount permissions"},
		work:  &fileWork{base: base, actions: []fileAction{{other: mkdir}}},
	}
}

// or is the value, or otherwise if it was not given.
func or(value *uint64, otherwise uint64) uint64 {
	if value != nil {
		return *value
	}
	return otherwise
}

// secret hands a secret to the process: as a file, as a variable, or both.
func (w *execWork) secret(s *stage, mount *instruction.Mount, ranges []syntax.Range) error {
	id := mount.ID
	if mount.Source != "" {
		id = mount.Source
	}
	if id == "" {
		if mount.Target == "" {
			return errors.New("one of source, target required")
		}
		id = path.Base(mount.Target)
	}
	note(s.inputs.secrets, id, mount.Required, ranges)
	target := mount.Target
	if target == "" && mount.Env == nil {
		target = "/run/secrets/" + path.Base(id)
	}
	if target != "" {
		w.mount(compose.Mount{
			Type: compose.Secret, Dest: target, ID: id, Optional: !mount.Required, UID: uint32(or(mount.UID, 0)),
			GID: uint32(or(mount.GID, 0)), Mode: fileMode(mount),
		}, nil)
	}
	if mount.Env != nil {
		w.exec.SecretEnv = append(w.exec.SecretEnv, compose.SecretEnv{ID: id, Name: *mount.Env, Optional: !mount.Required})
	}
	return nil
}

// agent hands a key agent to the process.
func (w *execWork) agent(s *stage, mount *instruction.Mount, ranges []syntax.Range) error {
	if mount.Source != "" {
		return errors.New("ssh does not support source")
	}
	id := mount.ID
	if id == "" {
		id = "default"
	}
	note(s.inputs.agents, id, mount.Required, ranges)
	w.mount(compose.Mount{
		Type: compose.SSH, Dest: mount.Target, ID: mount.ID, Optional: !mount.Required, UID: uint32(or(mount.UID, 0)),
		GID: uint32(or(mount.GID, 0)), Mode: fileMode(mount),
	}, nil)
	return nil
}

// fileMode is the mode of a secret's or agent's file, nil for the default of
// its kind.
func fileMode(mount *instruction.Mount) *uint32 {
	if mount.Mode == nil {
		return nil
	}
	mode := uint32(*mount.Mode)
	return &mode
}
