package tig

// T is what a test offers to helpers, in the words of package testing.
type T interface {
	// Helper marks a function that failures are not reported for.
	Helper()
	// FailNow ends the test as failed.
	FailNow()
	// Log says something.
	Log(args ...any)
	// Name is the test's.
	Name() string
	// TempDir is a directory that goes with the test.
	TempDir() string
}
