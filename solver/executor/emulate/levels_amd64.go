package emulate

import "golang.org/x/sys/cpu"

// amd64Levels are the levels of the architecture above the first that this
// processor has, if it is the native one.
func amd64Levels(native string) []string {
	x := &cpu.X86
	if native != "amd64" || !x.HasCX16 || !x.HasPOPCNT || !x.HasSSE3 || !x.HasSSSE3 || !x.HasSSE41 || !x.HasSSE42 {
		return nil
	}
	if !x.HasAVX || !x.HasAVX2 || !x.HasBMI1 || !x.HasBMI2 || !x.HasFMA || !x.HasOSXSAVE {
		return []string{"v2"}
	}
	if !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512CD || !x.HasAVX512DQ || !x.HasAVX512VL {
		return []string{"v2", "v3"}
	}
	return []string{"v2", "v3", "v4"}
}
