package pluginserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// Stats is what a server holds at the moment.
type Stats struct {
	// Connections are Kong's, Running those of them that run a command now.
	Connections, Running int
	// Configurations are those that Kong has started, by plugin.
	Configurations map[string]int
	// Digest names them all together: SHA-256, in hexadecimal. Kong starts a
	// configuration with its first request.
	Digest string
	// Draining says that the server takes no new connection.
	Draining bool
}

// Stats tells how the server stands now.
func (s *Server) Stats() Stats {
	var stats Stats
	s.mu.Lock()
	stats.Connections, stats.Draining = len(s.links), s.drains
	for _, busy := range s.links {
		if busy {
			stats.Running++
		}
	}
	s.mu.Unlock()
	stats.Configurations, stats.Digest = s.instances.configurations()
	return stats
}

// configurations counts the distinct configurations by plugin, and names them
// together.
func (s *instances) configurations() (byPlugin map[string]int, all string) {
	s.mu.Lock()
	plugins := make(map[digest]string, len(s.handlers))
	for _, inst := range s.byID {
		plugins[inst.digest] = inst.plugin.Name
	}
	s.mu.Unlock()
	byPlugin = map[string]int{}
	digests := make([]digest, 0, len(plugins))
	for d, name := range plugins {
		byPlugin[name]++
		digests = append(digests, d)
	}
	slices.SortFunc(digests, func(a, b digest) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, d := range digests {
		h.Write(d[:])
	}
	return byPlugin, hex.EncodeToString(h.Sum(nil))
}
