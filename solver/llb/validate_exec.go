package llb

import pb "github.com/kilnbuild/kiln/solver/pb/llb"

// rootDest is where the root file system of a process is mounted.
const rootDest = "/"

func validateExec(op *pb.ExecOp, inputs int) (outputs int, err error) {
	if op == nil {
		return 0, invalidf("invalid nil exec op")
	}
	if err := validateMeta(op.Meta); err != nil {
		return 0, err
	}
	if len(op.Mounts) == 0 {
		return 0, invalidf("invalid exec op with no mounts")
	}
	if _, known := pb.NetMode_name[int32(op.Network)]; !known {
		return 0, invalidf("invalid exec op with unknown network mode %d", op.Network)
	}
	if _, known := pb.SecurityMode_name[int32(op.Security)]; !known {
		return 0, invalidf("invalid security mode %d of exec op", op.Security)
	}
	for _, secret := range op.Secretenv {
		if err := checkText("secret environment variable", secret.GetName()); err != nil {
			return 0, err
		}
	}
	roots := 0
	for i, mount := range op.Mounts {
		if err := validateMount(i, mount, inputs); err != nil {
			return 0, err
		}
		if mount.Dest == rootDest {
			roots++
		}
	}
	switch {
	case roots == 0:
		return 0, invalidf("invalid exec op with no rootfs")
	case roots > 1:
		return 0, invalidf("invalid exec op with %d root mounts", roots)
	}
	return execOutputs(op.Mounts)
}

func validateMeta(meta *pb.Meta) error {
	if meta == nil {
		return invalidf("invalid exec op with no meta")
	}
	if len(meta.Args) == 0 {
		return invalidf("invalid exec op with no args")
	}
	if err := checkText("argument", meta.Args...); err != nil {
		return err
	}
	if err := checkText("environment variable", meta.Env...); err != nil {
		return err
	}
	return checkText("process setting", meta.Cwd, meta.User, meta.Hostname, meta.CgroupParent)
}

func validateMount(i int, mount *pb.Mount, inputs int) error {
	if mount.Dest == "" {
		return invalidf("invalid mount %d with no destination", i)
	}
	if err := checkText("mount path", mount.Dest, mount.Selector); err != nil {
		return err
	}
	if err := checkIndex("mount input", mount.Input, inputs); err != nil {
		return err
	}
	if _, known := pb.MountContentCache_name[int32(mount.ContentCache)]; !known {
		return invalidf("invalid mount %s with unknown content cache mode %d", mount.Dest, mount.ContentCache)
	}
	switch mount.MountType {
	case pb.MountType_BIND:
		return nil
	case pb.MountType_CACHE:
		if mount.CacheOpt == nil {
			return invalidf("missing cache mount options")
		}
		if _, known := pb.CacheSharingOpt_name[int32(mount.CacheOpt.Sharing)]; !known {
			return invalidf("invalid cache mount %s with unknown sharing mode %d", mount.Dest, mount.CacheOpt.Sharing)
		}
	case pb.MountType_TMPFS:
		if mount.TmpfsOpt.GetSize() < 0 {
			return invalidf("invalid tmpfs mount %s with size %d", mount.Dest, mount.TmpfsOpt.Size)
		}
	case pb.MountType_SECRET:
		if mount.SecretOpt == nil {
			return invalidf("invalid secret mount options")
		}
	case pb.MountType_SSH:
		if mount.SSHOpt == nil {
			return invalidf("invalid ssh mount options")
		}
	default:
		return invalidf("invalid mount %s of unknown type %d", mount.Dest, mount.MountType)
	}
	if mount.Dest == rootDest {
		return invalidf("invalid exec op with a %s mount as rootfs", mount.MountType)
	}
	return nil
}

// HasOutput reports whether a mount of an ExecOp becomes one of its outputs.
// Only bind mounts do: the output field of other kinds says nothing.
func HasOutput(mount *pb.Mount) bool {
	return mount.GetMountType() == pb.MountType_BIND && mount.GetOutput() != noIndex
}

// execOutputs counts the outputs that mounts name.
func execOutputs(mounts []*pb.Mount) (int, error) {
	used := newOutputSet(len(mounts))
	for _, mount := range mounts {
		if !HasOutput(mount) {
			continue
		}
		if err := used.add(mount.Output); err != nil {
			return 0, err
		}
	}
	return used.count, nil
}

// outputSet collects output indexes, each of which may be named once.
type outputSet struct {
	seen  []bool
	count int
}

func newOutputSet(limit int) *outputSet { return &outputSet{seen: make([]bool, limit)} }

func (s *outputSet) add(index int64) error {
	if index < 0 || index >= int64(len(s.seen)) {
		return invalidf("invalid output index %d", index)
	}
	if s.seen[index] {
		return invalidf("invalid output index %d: it is named twice", index)
	}
	s.seen[index] = true
	s.count = max(s.count, int(index)+1)
	return nil
}
