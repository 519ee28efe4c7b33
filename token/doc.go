// Package token finds the caller's access token in a request and decides
// whether it is true: issued by a trusted issuer, for us, by a key that is that
// issuer's now, unexpired, not revoked, and in the hands of whoever it was bound
// to.
//
// What it refuses to do: it never accepts a symmetric or absent signature, never
// uses or fetches a key that the token itself names (jku, x5u, jwk, x5c), never
// reads a token from the query, never opens encrypted tokens, and never lets a
// token through because something it needed was out of reach. It says nothing of
// what a caller may do: that is for the packages claims and policy.
//
// Read first: [Verifier.VerifyPresented] (the order of the checks), then
// [NewVerifier] (what is configured), [ParseKeySet] (which keys are let in) and
// [KeyCache] (how keys are kept fresh).
package token
