/* The program of the quickstart: compiled in the first stage, alone in the image of the second. */
#include <stdio.h>
#include <sys/utsname.h>

int main(void)
{
	struct utsname machine;

	if (uname(&machine) != 0) {
		perror("uname");
		return 1;
	}
	printf("hello from an image built by %s, on %s %s\n", BUILDER, machine.sysname, machine.machine);
	return 0;
}
