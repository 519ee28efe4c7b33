// Package guard says who may do what in Prefect's own API: which operation a
// request is, which permission it needs, what its body may hold, and to which
// deployments it is limited.
//
// It refuses what it doesn't know: an operation that is not in its table, a
// permission that no role holds, a body that it can't understand. It never
// talks to Kong, and asks Prefect only where a caller is limited to some of
// its deployments.
//
// Read routes.txt first, which is the table, then [Match].
package guard
