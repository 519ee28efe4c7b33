// Package outbox keeps requests for runs on disk while Prefect is away, and
// delivers them once it is back.
//
// An entry is accepted once [Store.Add] has returned: then it is on the disk,
// and it ends in one of three ways that all can be looked up: delivered, dead,
// or dropped by an operator. Entries of one queue are delivered one after the
// other, in the order in which they were accepted; queues don't wait for each
// other. Of several processes that share a store one delivers to a server at a
// time, and when it is killed another goes on. What was under way then is
// delivered again: so a delivery must be safe to repeat, as a run's idempotency
// key makes it.
//
// It doesn't know what it carries: the payload is the caller's own. It holds no
// credentials, and must be given none.
//
// There are two stores. [OpenSQLite] is a file of one node; [OpenRedis] is
// shared by several. Package outboxtest holds both to the same promises.
//
// Read [Store] first, then [Run].
package outbox
