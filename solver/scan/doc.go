// Package scan has results described whose frontends did not do so themselves:
// of builds whose requests ask for a bill of materials, those that have none
// get one for each platform. See package sbom for how.
//
// It promises that a description is part of the build, with its progress,
// policies and cancellation, and no part of what the result was made from.
//
// # What it does not do
//
// It knows nothing of stages and contexts; frontends do.
package scan
