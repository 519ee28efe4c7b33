// Package socket drives the real binary over its real socket, as Kong's
// workers do: through panics, slow handlers, drains, kills, reloads, a thousand
// reconfigurations under load, and whatever bytes a client may send.
//
// Two things are built into the binary that it ships without, by a build
// overlay (see overlay_test.go): paths that panic or hang, and a door by which
// a test counts goroutines. All else is the product. It has tests alone; read
// worker_test.go first, which is Kong's side.
package socket
