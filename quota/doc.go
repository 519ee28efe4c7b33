// Package quota says whether one more run of a deployment may be started: so
// many a minute, and so many at once, for one caller and for all together.
//
// Runs a minute are counted here, in memory or in a Redis that several nodes
// share. How many there are at once only Prefect knows, and is asked each time:
// what is kept here is the line of those who were let through and aren't in
// Prefect's count yet. A request that is repeated under its idempotency key is
// the same run, and isn't counted twice.
//
// It refuses to let anybody through uncounted: where nobody can count, nobody
// passes, unless the configuration says that each node counts alone then.
//
// Read [Quota.Take] first; room.go is what is counted, redis.go the same for
// several nodes.
package quota
