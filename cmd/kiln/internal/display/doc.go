// Package display shows a build to the person or the program that waits for
// it. It promises that nothing a build prints is lost in plain mode, that a
// terminal is never left in a state other than the one it was found in, and
// that showing never holds up receiving.
//
// # Vocabulary
//
//   - Mode: auto, tty, plain, quiet or rawjson. auto is tty on a terminal and
//     plain elsewhere.
//   - model: what is known of the build so far, as steps. A step is a vertex,
//     or a progress group that stands for several vertices.
//   - view: one way to show the model: plainView, ttyView, jsonView.
//   - floor (plain): the step whose lines are being printed. Others wait for
//     their turn, so that lines of steps that run at the same time do not mix.
//   - frame (tty): the lines that a redraw puts on the screen. Only lines that
//     differ from the last frame are written, in one write.
//
// # Lifecycle
//
// New starts a Display, Add feeds it, Close shows the rest and the logs of
// what failed. The cursor is hidden only within a write, so an interrupt at
// any moment has nothing to restore.
//
// # Concurrency
//
// Add may be called from several goroutines. One goroutine, ended by Close,
// owns the model and the view.
//
// # What it does not do
//
// It does not print the error of the build or the place in the Dockerfile it
// comes from: those travel with the error, not with the progress.
package display
