// Package trigger tests prefect-trigger's promises at the real binary, on a real Prefect: which deployment, which
// parameters, what a caller finds out, whose run it is, and how many. Nobody executes the runs here: see test/e2e for
// that.
package trigger
