// Package guard tests prefect-guard on the real parts: Prefect's own router, its server, its command line, workers and
// web pages, through the gateway, each with a token of its own.
//
// Read router_test.go first: it holds the route table to the Prefect that is installed.
package guard
