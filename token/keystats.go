package token

import "time"

// KeyStats is how the keys of one issuer stand.
type KeyStats struct {
	// Issuer is the issuer's URL, as configured.
	Issuer string
	// Keys is how many are in use; none were ever had where Age is 0.
	Keys int
	// Age is the time since they were last fetched, or last seen unchanged in
	// their file. Keys that nobody asks for aren't fetched: an idle issuer's
	// age grows.
	Age time.Duration
	// Failing counts the failed tries since the last good one.
	Failing int
	// Fetched and Failed count the tries since the process began.
	Fetched, Failed uint64
}

// Stats tells how the keys of every issuer stand, one entry for each source:
// an issuer with two settings has two.
func (c *KeyCache) Stats() []KeyStats {
	c.mu.Lock()
	remotes := make([]*remoteKeys, 0, len(c.remotes))
	for _, k := range c.remotes {
		remotes = append(remotes, k)
	}
	files := make(map[keyFile]*fileKeys, len(c.files))
	for f, k := range c.files {
		files[f] = k
	}
	c.mu.Unlock()
	now := c.options.Now()
	var all []KeyStats
	for _, k := range remotes {
		all = append(all, k.stats(now))
	}
	for f, k := range files {
		s := k.file.stats(now)
		s.Issuer = f.issuer
		if set := k.set.Load(); set != nil {
			s.Keys = set.Len()
		}
		all = append(all, s)
	}
	return all
}

func (k *remoteKeys) stats(now time.Time) KeyStats {
	k.mu.RLock()
	defer k.mu.RUnlock()
	s := KeyStats{Issuer: k.remote.issuer, Failing: k.failures, Fetched: k.fetched, Failed: k.failed}
	if k.set != nil {
		s.Keys, s.Age = k.set.Len(), now.Sub(k.fetchedAt)
	}
	return s
}

func (w *watchedFile) stats(now time.Time) KeyStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := KeyStats{Failing: w.failing, Fetched: w.good, Failed: w.failed}
	if w.loaded {
		s.Age = now.Sub(w.goodAt)
	}
	return s
}
