package tig

// T is what a test offers to helpers.
type T interface {
	Helper()
	FailNow()
	Log(args ...any)
	Name() string
	TempDir() string
}
