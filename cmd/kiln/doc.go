// Command kiln builds container images: it sends builds to a daemon, shows
// their progress and takes their results. Installed or linked as buildctl it
// is buildctl: it answers to that name and uses that daemon's address.
//
// Every failure ends with exit code 1, a command that does not exist with 3. The first interrupt cancels what is
// running and lets it end; the third ends the program at once.
package main
