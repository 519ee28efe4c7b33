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
	generator := b.lines("load")
	ours, gopdk, pingpong := b.self("ours"), b.self("gopdk"), b.self("pingpong")
	rounds, length, links := 5, 100*time.Millisecond, connections
	if b.quick {
		rounds, length, links = 1, 5*time.Millisecond, []int{2}
	}
	for _, conns := range links {
		for _, calls := range callCounts {
			var us, them, floor []time.Duration
			var flights, theirs result
			for range rounds { // in turns, so that a slow moment hits all of them
				j := job{Connections: conns, For: length}
				j.Plugin, j.Configs = callsName(calls), []string{fmt.Sprintf(`{"calls":%d}`, calls)}
				cpu, r := b.load(generator, ours, j)
				us, flights = append(us, cpu), r
				cpu, r = b.load(generator, gopdk, j)
				them, theirs = append(them, cpu), r
				j.PingPong = int(perEvent(flights.Flights, flights.Events) + 0.5)
				cpu, _ = b.load(generator, pingpong, j)
				floor = append(floor, cpu)
			}
			rows = append(rows, compare(calls, conns, median(us), median(them), median(floor))...)
			if conns == links[0] {
				rows = append(rows,
					figure(fmt.Sprintf("pluginserver/flights/ours/calls=%d", calls), perEvent(flights.Flights, flights.Events), "flights").atMost(2),
					figure(fmt.Sprintf("pluginserver/flights/go-pdk/calls=%d", calls), perEvent(theirs.Flights, theirs.Events), "flights"))
			}
		}
	}
	return rows
}

func perEvent(n, events int) float64 { return float64(n) / float64(events) }

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// compare makes the rows of one number of calls and connections.
func compare(calls, conns int, ours, gopdk, pingpong time.Duration) []row {
	where := fmt.Sprintf("calls=%d/connections=%d", calls, conns)
	ratio := figure("pluginserver/of-go-pdk/"+where, float64(ours)/float64(gopdk), "ratio")
	switch calls {
	case 5:
		ratio = ratio.atMost(0.35)
	case 10:
		ratio = ratio.atMost(0.25)
	}
	return []row{
		figure("pluginserver/cpu/ours/"+where, micros(ours), "µs/event"),
		figure("pluginserver/cpu/go-pdk/"+where, micros(gopdk), "µs/event"),
		figure("pluginserver/cpu/ping-pong/"+where, micros(pingpong), "µs/event"),
		ratio,
		figure("pluginserver/of-ping-pong/"+where, float64(ours)/float64(pingpong), "ratio").atMost(1.5),
	}
}
