// Command kiln-dockerfile is kiln's Dockerfile frontend as a program of its own,
// for an image that "# syntax=" can name. A builder starts it in a container
// and talks to it over its standard streams; see the Dockerfile beside this
// file.
package main
