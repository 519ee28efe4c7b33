package bench

import (
	"fmt"
	"slices"
	"time"
)

var (
	callCounts  = []int{0, 1, 2, 5, 10}
	connections = []int{1, 8, 64}
)

// pluginserverRows compares our server with go-pdk's and with what the sockets
// alone cost.
func pluginserverRows(b *bench) (rows []row) {
	p := &pluginserverPart{b, b.lines("load"), b.self("ours"), b.self("gopdk"), b.self("pingpong"), b.self("bare"), 5, 100 * time.Millisecond}
	links := connections
	if b.quick {
		p.rounds, p.length, links = 1, 5*time.Millisecond, []int{2}
	}
	for _, conns := range links {
		for _, calls := range callCounts {
			rows = append(rows, p.compare(calls, conns)...)
		}
	}
	for _, calls := range callCounts {
		rows = append(rows, p.flights(calls)...)
	}
	return rows
}

type pluginserverPart struct {
	*bench
	generator                   *lines
	ours, gopdk, pingpong, bare *server
	rounds                      int
	length                      time.Duration
}

func (p *pluginserverPart) job(calls, conns int) job {
	return job{Connections: conns, For: p.length, Plugin: callsName(calls), Configs: []string{fmt.Sprintf(`{"calls":%d}`, calls)}}
}

// compare makes the rows of one number of calls and connections: the median of
// some rounds, in turns, so that a slow moment hits all of them.
func (p *pluginserverPart) compare(calls, conns int) []row {
	j := p.job(calls, conns)
	var ours, gopdk, pingpong, bare []time.Duration
	for range p.rounds {
		ours = p.round(ours, p.ours, j)
		gopdk = p.round(gopdk, p.gopdk, j)
		pingpong = p.round(pingpong, p.pingpong, j)
		j.Bare = 1 + min(1, calls)
		bare = p.round(bare, p.bare, j)
		j.Bare = 0
	}
	where := fmt.Sprintf("calls=%d/connections=%d", calls, conns)
	ratio := figure("pluginserver/of-go-pdk/"+where, float64(median(ours))/float64(median(gopdk)), "ratio")
	switch calls {
	case 5:
		ratio = ratio.atMost(0.35)
	case 10:
		ratio = ratio.atMost(0.25)
	}
	return []row{
		figure("pluginserver/cpu/ours/"+where, micros(median(ours)), "µs/event"),
		figure("pluginserver/cpu/go-pdk/"+where, micros(median(gopdk)), "µs/event"),
		figure("pluginserver/cpu/ping-pong/"+where, micros(median(pingpong)), "µs/event"),
		figure("pluginserver/cpu/bare-ping-pong/"+where, micros(median(bare)), "µs/event"),
		ratio,
		figure("pluginserver/ping-pong-of-go-pdk/"+where, float64(median(pingpong))/float64(median(gopdk)), "ratio"), // the least that the ratio above could be
		figure("pluginserver/of-ping-pong/"+where, float64(median(ours))/float64(median(pingpong)), "ratio").atMost(1.5),
	}
}

func (p *pluginserverPart) round(all []time.Duration, s *server, j job) []time.Duration {
	p.Helper()
	cpu, _ := p.load(p.generator, s, j)
	return append(all, cpu)
}

// flights are how often the plugin waits for Kong in an event.
func (p *pluginserverPart) flights(calls int) []row {
	p.Helper()
	count := func(s *server) float64 {
		_, r := p.load(p.generator, s, p.job(calls, 1))
		return perEvent(r.Flights, r.Events)
	}
	return []row{
		figure(fmt.Sprintf("pluginserver/flights/ours/calls=%d", calls), count(p.ours), "flights").atMost(2),
		figure(fmt.Sprintf("pluginserver/flights/go-pdk/calls=%d", calls), count(p.gopdk), "flights"),
	}
}

func perEvent(n, events int) float64 { return float64(n) / float64(events) }

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
