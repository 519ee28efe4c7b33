package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parts are what is measured, by the packages' names and in the request's way.
var parts = []struct {
	name    string
	measure func(b *bench) []row
}{
	{"pluginserver", pluginserverRows},
	{"policy", policyRows},
	{"plugin", pluginRows},
	{"token", tokenRows},
	{"guard", guardRows},
	{"audit", auditRows},
	{"prefectclient", prefectclientRows},
	{"outbox", outboxRows},
}

var (
	full = flag.Bool("full", false, "measure, instead of running everything once")
	out  = flag.String("out", "", "file for the figures, as JSON")
	only = flag.String("only", "", "parts to run, by name, separated by commas; all by default")
)

// bench is what a part measures with. It is a [testing.TB]: a part fails by
// b.Fatal or require, and its Cleanup, TempDir and Context end with the part.
type bench struct {
	testing.TB
	// quick: run everything, measure nothing. The figures are thrown away.
	quick bool
}

// TestMain makes the test's own binary serve as the other processes: the
// servers that are compared and the load generator.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// TestBench runs all parts.
func TestBench(t *testing.T) {
	var rows []row
	var ran []string
	benchtime := map[bool]string{true: "300ms", false: "1x"}[*full]
	require.NoError(t, flag.Set("test.benchtime", benchtime))
	for _, part := range parts {
		if *only != "" && !contains(strings.Split(*only, ","), part.name) {
			continue
		}
		began := time.Now()
		passed := t.Run(part.name, func(t *testing.T) {
			got := part.measure(&bench{t, !*full})
			for _, r := range got {
				require.True(t, strings.HasPrefix(r.Name, part.name+"/"), "%s is no name of part %s", r.Name, part.name)
			}
			rows = append(rows, got...)
		})
		if !passed {
			return
		}
		ran = append(ran, part.name)
		if *full {
			fmt.Fprintf(os.Stderr, "measured %s in %.0f s\n", part.name, time.Since(began).Seconds())
		}
	}
	require.NotEmpty(t, rows)
	if *full {
		printTable(os.Stdout, rows)
	}
	if *out != "" {
		require.NoError(t, save(*out, rows, ran))
	}
}

// perOp runs a Go benchmark and gives its nanoseconds an operation.
func (b *bench) perOp(f func(*testing.B)) float64 {
	b.Helper()
	result := testing.Benchmark(f)
	require.Positive(b, result.N, "the benchmark failed")
	return float64(result.T.Nanoseconds()) / float64(result.N)
}

// build builds a binary of ours as it ships, without the race detector, and
// gives its path.
func (b *bench) build(name string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), name)
	cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/"+name)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	require.NoError(b, err, "%s", output)
	return path
}
