// Package layers holds the import rules of the tree and the test that
// enforces them.
//
// Promise: every package of the main module stands in exactly one room of
// the table in table.go, every import between rooms points up the table or is
// listed there with its reason, and an import that breaks a rule is printed
// as a path with the sentence that explains the rule. A change that needs a
// new direction edits the table, where a reviewer sees it, instead of adding
// an import nobody notices.
//
// Vocabulary. A room is a folder with everything below it, except the folders
// that have a room of their own (the longest matching path wins). A row is a
// level of the house: a room may import rooms with a smaller row number. Rooms
// of one row do not know each other unless the importing room names its
// neighbour in Siblings. A fence is a rule about everything a room pulls in,
// directly or through others.
//
// The rules look at production code only; tests may reach wherever they need,
// except for the modules that are banned altogether. Rooms whose packages are
// not written yet are no error: the table is the plan, and the tree grows into
// it. The package reads the tree through `go list` and keeps no state.
package layers
