// Package manual writes what people read and shells complete about a program,
// from the very commands that the program runs: man pages and completions for
// bash, zsh and fish. They cannot disagree with the program.
//
// # Vocabulary
//
//   - Page: one man page, of the program or of one of its commands. Pages of
//     commands are named program-command.
//   - Section: the part of the manual, 1 for users' commands, 8 for daemons.
//
// # What it does not do
//
// It installs nothing, and compresses nothing; packages do.
package manual
