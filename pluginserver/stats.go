package pluginserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
)

// Stats is what a server holds at the moment.
type Stats struct {
	// Connections are Kong's, Running those of them that run a command now.
	Connections, Running int
	// Configurations are those that Kong has started, by plugin, and Broken
	// those of them that refuse every request and met one lately: Kong doesn't
	// always say when it gives a configuration up.
	Configurations, Broken map[string]int
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
	s.instances.describe(&stats)
	return stats
}

// lately is how long a broken configuration is told of after its last request,
// in seconds.
const lately = 10 * 60

// breakable is a handler that may say that it refuses everything.
type breakable interface{ Broken() bool }

// describe counts the distinct configurations, and names them together.
func (s *instances) describe(stats *Stats) {
	stats.Configurations, stats.Broken = map[string]int{}, map[string]int{}
	s.mu.Lock()
	seen, broken := make(map[digest]bool, len(s.handlers)), map[digest]bool{}
	for _, inst := range s.byID {
		if !seen[inst.digest] {
			seen[inst.digest] = true
			stats.Configurations[inst.plugin.Name]++
		}
		h, ok := inst.handler.(breakable)
		if ok && h.Broken() && !broken[inst.digest] && s.now().Unix()-inst.used.Load() < lately {
			broken[inst.digest] = true
			stats.Broken[inst.plugin.Name]++
		}
	}
	s.mu.Unlock()
	h := sha256.New()
	for _, d := range slices.SortedFunc(maps.Keys(seen), func(a, b digest) int { return bytes.Compare(a[:], b[:]) }) {
		h.Write(d[:])
	}
	stats.Digest = hex.EncodeToString(h.Sum(nil))
}
