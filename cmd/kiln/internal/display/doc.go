// Package display shows the progress of a build to a person or a program.
package display
