// Package emulate knows which platforms' programs run on this machine. It
// promises not to guess: a platform is listed when a program of it has run.
//
// # Vocabulary
//
//   - Native: what the processor runs by itself, such as 386 on amd64.
//   - Registered: what the kernel hands to an interpreter (binfmt_misc). Nothing
//     has to be done for a container, if the registration has the flag F.
//   - Emulator: a static program in PATH that the container is given instead:
//     buildkit-qemu-<arch>, kiln-qemu-<arch> or qemu-<arch>-static. The first two
//     are builds that also emulate what their program starts; Debian's only
//     emulates the program itself, which is made up for by:
//   - Namespace: a user namespace in which the emulator is registered, for the
//     containers that are started in it and nobody else. Linux 6.7 has such
//     registrations; they need no rights on the machine and change nothing on
//     it. Users and groups in it are those outside.
//
// # How it looks
//
// For each architecture there is a program of a dozen bytes that exits. What the
// machine says when it is started is the answer: an architecture that nobody
// runs costs a failed start. The file system binfmt_misc need not be mounted,
// and whether its interpreter is there and works is known as well.
//
// # Concurrency
//
// A Detector is safe for concurrent use. Answers are kept for a while, because
// registrations change seldom; asking for them again is the caller's turn, so no
// goroutine runs between. Namespaces are made when first needed and kept until
// Close.
package emulate
