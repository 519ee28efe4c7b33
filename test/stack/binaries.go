package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// BuildBinaries builds kong-prefect and devgateway from the repository's sources into a folder, with the race detector
// in them.
func BuildBinaries(ctx context.Context, repository, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-race", "-trimpath", "-o", dir+"/", "./cmd/kong-prefect", "./cmd/devgateway")
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binaries: %w\n%s", err, out)
	}
	return nil
}

// Verdict is what a suite ends with: the tests' own exit code, or 1 where a gateway's log holds a race, or another text
// that must never be there. A log of a suite that failed is shown from its end.
func Verdict(suite string, code int, logs string, never ...string) int {
	for _, text := range append(never, "WARNING: DATA RACE") {
		if strings.Contains(logs, text) {
			fmt.Fprintf(os.Stderr, "%s: the gateway's log holds %q\n", suite, text)
			code = 1
		}
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "%s: the gateway's log ends with:\n%s\n", suite, Tail(logs))
	}
	return code
}
