// Package bench measures what the plugins cost, and holds the figures against
// their goals: `make bench` prints a table of them and writes
// build/bench.json, an array of {name, value, unit, goal, met}.
//
// It refuses to guess: what a server costs is the CPU time that the kernel
// booked to its process, never the time that passed, so another program on the
// machine disturbs it little; what is compared was measured in the same run,
// in turns.
//
// A package adds its figures by one file here, NAME_test.go, with a function
// func(b *bench) []row, and one line for it in the list parts (bench_test.go).
// A row's name begins with the package: "token/verify/rs256". Helpers: b.perOp
// runs a Go benchmark, b.build builds the real binary, b.start starts it and
// b.load drives it as Kong does, from a process of its own. As an ordinary
// test the package runs every part once, quickly (b.quick), so that none rots.
//
// Read TestBench first.
package bench
