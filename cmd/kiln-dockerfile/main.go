package main

import (
	"context"
	"fmt"
	"os"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile"
	"github.com/kilnbuild/kiln/solver/frontend/gateway/guest"
)

func main() {
	err := guest.Run(context.Background(), dockerfile.New(), guest.ReadEnvironment(os.Environ()), os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kiln-dockerfile:", err)
		os.Exit(1)
	}
}
