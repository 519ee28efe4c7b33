// Package identity holds the tests of what becomes of a caller beyond the token, through the real binary, the gateway
// and real OpenID providers: Kong's own plugins that decide and count by caller, headers, the signed assertion, what the
// plugin publishes, and everything that a client could send to be taken for somebody else.
//
// It refuses to start Prefect: what the upstream saw tells all. Read suite_test.go first.
package identity
