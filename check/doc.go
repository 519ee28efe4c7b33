// Package check says what is wrong with a gateway's configuration before
// anybody rolls it out: all of it at once, each thing with its file, line and
// field, with a stable code, and with what to do.
//
// It compiles the plugins' configurations with the plugins' own code
// ([plugin.Examine]), so that it can't promise what they refuse. What Kong
// itself says of its own entities it leaves to Kong, as far as it doesn't
// decide what the plugins do.
//
// It refuses to guess: what can't be known from the files (a secret of
// Kubernetes', a variable that isn't set) is listed as not checked.
//
// Read [Check] first, then rules.go.
package check
