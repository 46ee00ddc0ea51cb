//go:build !amd64

package emulate

// amd64Levels are the levels of amd64 that this processor has: none.
func amd64Levels(string) []string { return nil }
