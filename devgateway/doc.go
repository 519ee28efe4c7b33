// Package devgateway is a stand-in for Kong where no Kong is at hand: for
// development and tests, never for production. It reads Kong's own settings
// and the same kong.yml, starts the real plugin-server binary and speaks to it
// over its real socket, and answers PDK calls as Kong 3.9.3 does, its mistakes
// included.
//
// It refuses, by name and with its place in the file, whatever of a kong.yml
// it can't honour, and it never guesses: a plugin, entity or setting it does
// not do is an error.
//
// Read Start first, then (*exchange).run for the way of a request, and
// (*pluginRPC).call for the socket.
package devgateway
