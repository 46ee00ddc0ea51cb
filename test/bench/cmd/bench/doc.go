// Command bench compares daemons that speak the Control API.
//
//	bench -client PROGRAM -daemon NAME=ADDRESS[,pid=N] … [-rounds 3]
//	      [-workloads run50,copy50k,export,pull] [-scale 1] [-json FILE]
//
// The first daemon is what the others are compared with. The table goes to
// standard output, progress to standard error. It starts and stops no daemon.
package main
