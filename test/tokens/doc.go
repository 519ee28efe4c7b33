// Package tokens holds the tests of every way in which a token can come and go, through the real binary and with a real
// OpenID provider: opaque, bound to a key or a certificate, in a cookie or a header, revoked, with keys that change.
//
// It refuses to start Prefect: whether a token is taken, the upstream's headers tell. Read suite_test.go first.
package tokens
