package audit

import (
	"maps"
	"slices"
)

// This file is how the follower hears of ends: each run is watched once, and a
// hint makes it ask for that run at once. A run that goes on all the same, or
// that can't be watched now, is watched again at the next tick.

func (f *follower) tellNews() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// watch has the server tell of the runs that nobody watches yet.
func (f *follower) watch() {
	f.mu.Lock()
	fresh := map[string]string{}
	for id := range f.fresh {
		fresh[id] = f.runs[id].created.Prefect
	}
	clear(f.fresh)
	f.mu.Unlock()
	for id, server := range fresh {
		if err := f.prefect.Watch(server, id, func() { f.hint(id) }); err != nil {
			f.mu.Lock()
			if f.runs[id] != nil {
				f.later[id] = true
			}
			f.mu.Unlock()
		}
	}
}

func (f *follower) watchLater() {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.fresh, f.later)
	clear(f.later)
}

// hint has a run asked for now.
func (f *follower) hint(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.runs[id] != nil {
		f.hinted[id], f.later[id] = true, true
		f.tellNews()
	}
}

// unwatch forgets a run that has ended. The caller holds mu.
func (f *follower) unwatch(id string) {
	delete(f.fresh, id)
	delete(f.later, id)
	delete(f.hinted, id)
}

// hints takes the runs to be asked for now, by server.
func (f *follower) hints() map[string][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	servers := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(f.hinted)) {
		server := f.runs[id].created.Prefect
		servers[server] = append(servers[server], id)
	}
	clear(f.hinted)
	return servers
}
