// Package outbox holds the outbox's store on Redis to its promises, on a real server that is killed: what is shown of the
// other store without one is in the package itself.
package outbox
