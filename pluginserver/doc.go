// Package pluginserver speaks Kong's plugin-server protocol (ProtoBuf:1) on a
// unix socket: it hosts several plugins in one process, starts an instance for
// each configuration that Kong hands over, and runs their handlers.
//
// It replaces go-pdk's own server for four reasons, each measured on a real
// Kong: a panic in a handler must not take down every route, an instance must
// never be forgotten while Kong uses it, the socket's file must survive a
// reload, and every blocking call costs a request two context switches. So the
// reads that a plugin always needs are asked for in one flight, and the calls
// without an answer travel together with the end of the event.
//
// It knows nothing of tokens, roles or Prefect, and it refuses to guess: a
// frame that can't be understood ends the connection, and an event that can't
// be finished ends the request with an error, never with a pass.
//
// Read [Server.Serve] first, then [Event], which is what a plugin sees.
package pluginserver
