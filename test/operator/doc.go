// Package operator holds the tools of those who run the gateway to the gateway itself: what explain says is what the
// gateway does, what doctor finds is what is wrong, and what replay foretells comes true. Gateway, binary, Prefect server
// and OpenID provider are real.
package operator
