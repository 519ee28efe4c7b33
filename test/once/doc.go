// Package once shows end to end that a run is started exactly once: a thousand requests to a Prefect with PostgreSQL that
// is killed twice and whose credential turns, and requests that are accepted while Prefect is away, by a plugin process
// that is killed itself. What callers were told is compared run by run with what Prefect holds.
package once
