// Package devgateway stands in for Kong where no Kong is at hand, in
// development and in tests. It reads the same kong.yml and the same KONG_*
// settings, starts the real plugin server as Kong does, speaks the same
// frames over the same socket, and proxies.
//
// It refuses by name what it can't honour, a setting, a plugin, a field, so
// that a test never passes because something was left out silently. It is no
// gateway for production: it has no TLS, no admin API and none of Kong's own
// plugins.
//
// Read [Gateway.ServeHTTP] first, then rpc.go.
package devgateway
