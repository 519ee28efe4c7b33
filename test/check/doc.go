// Package check tests kong-prefect check on real parts: what it asks of a real
// Prefect server and a real OpenID provider, what a gateway says of the same
// files, and what it looks like on a terminal.
package check
