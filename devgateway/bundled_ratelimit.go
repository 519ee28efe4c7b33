package devgateway

import (
	"strconv"
	"sync"
)

const rateLimitSchema = `"fields":[{"config":{"type":"record","fields":[
 {"second":{"type":"number","gt":0}},{"minute":{"type":"number","gt":0}},{"hour":{"type":"number","gt":0}},
 {"day":{"type":"number","gt":0}},
 {"limit_by":{"type":"string","default":"consumer","one_of":["consumer","credential","ip","service","header","path"]}},
 {"header_name":{"type":"string"}},
 {"path":{"type":"string","starts_with":"/"}},
 {"policy":{"type":"string","default":"local","one_of":["local"]}},
 {"fault_tolerant":{"type":"boolean","required":true,"default":true}},
 {"hide_client_headers":{"type":"boolean","required":true,"default":false}},
 {"error_code":{"type":"number","default":429,"gt":0}},
 {"error_message":{"type":"string","default":"API rate limit exceeded"}},
 {"sync_rate":{"type":"number","required":true,"default":-1}}]}}],
 "entity_checks":[{"at_least_one_of":["config.second","config.minute","config.hour","config.day"]},
 {"conditional":{"if_field":"config.limit_by","if_match":{"eq":"header"},"then_field":"config.header_name","then_match":{"required":true}}},
 {"conditional":{"if_field":"config.limit_by","if_match":{"eq":"path"},"then_field":"config.path","then_match":{"required":true}}}]`

type ratePeriod struct {
	field, title string
	seconds      int64
}

var ratePeriods = []ratePeriod{{"second", "Second", 1}, {"minute", "Minute", 60}, {"hour", "Hour", 3600}, {"day", "Day", 86400}}

// rateCounters counts requests in windows that begin on the clock, as Kong's
// local policy does. Windows that are over are dropped.
type rateCounters struct {
	mu     sync.Mutex
	counts map[rateKey]int64
	swept  int64
}

type rateKey struct {
	scope, identifier, period string
	window                    int64
}

func newRateCounters() *rateCounters { return &rateCounters{counts: map[rateKey]int64{}} }

func (r *rateCounters) sweep(now int64) {
	if now-r.swept < 60 {
		return
	}
	r.swept = now
	for k := range r.counts {
		for _, p := range ratePeriods {
			if p.field == k.period && (k.window+1)*p.seconds <= now {
				delete(r.counts, k)
			}
		}
	}
}

func (x *exchange) rateIdentifier(p *Plugin) string {
	id := ""
	get := func(d dict) string { s, _ := d["id"].(string); return s }
	switch p.Config["limit_by"] {
	case "service":
		id = serviceID(x.service)
	case "consumer":
		if x.consumer != nil {
			id = get(x.consumer)
		} else {
			id = get(x.credential)
		}
	case "credential":
		id = get(x.credential)
	case "header":
		name, _ := p.Config["header_name"].(string)
		id = x.getHeader(name)
	case "path":
		if path := normalizePath(x.rawPath); path == p.Config["path"] {
			id = path
		}
	}
	if id == "" {
		id = x.remote.String()
	}
	return id
}

func rateLimiting(x *exchange, p *Plugin) {
	now := x.gw.clock().Unix()
	id := x.rateIdentifier(p)
	r := x.conf.tally
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	stop := ""
	used := map[string]int64{}
	key := func(period ratePeriod) rateKey {
		return rateKey{routeID(p.Route) + ":" + serviceID(p.Service), id, period.field, now / period.seconds}
	}
	for _, period := range ratePeriods {
		if limit, ok := p.Config[period.field].(float64); ok {
			used[period.field] = r.counts[key(period)]
			if float64(used[period.field]) >= limit {
				stop = period.field
			}
		}
	}
	if p.Config["hide_client_headers"] != true {
		x.rateHeaders(p, used, stop, now)
	}
	if stop != "" {
		code, _ := p.Config["error_code"].(float64)
		message, _ := p.Config["error_message"].(string)
		x.errorAnswer(int(code), message, nil)
		return
	}
	for _, period := range ratePeriods {
		if _, ok := p.Config[period.field].(float64); ok {
			r.counts[key(period)]++
		}
	}
}

// rateHeaders tells the client its limits; the tightest window is the one the
// RateLimit-* headers speak of.
func (x *exchange) rateHeaders(p *Plugin, used map[string]int64, stop string, now int64) {
	best, bestWindow, bestLimit := int64(-1), int64(0), int64(0)
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, period := range ratePeriods {
		limit, ok := p.Config[period.field].(float64)
		if !ok {
			continue
		}
		remaining := int64(limit) - used[period.field]
		if stop == "" || stop == period.field {
			remaining--
		}
		remaining = max(remaining, 0)
		x.resp.setHeader("X-RateLimit-Limit-"+period.title, luaText(limit))
		x.resp.setHeader("X-RateLimit-Remaining-"+period.title, num(remaining))
		if best < 0 || remaining < best || (remaining == best && period.seconds > bestWindow) {
			best, bestWindow, bestLimit = remaining, period.seconds, int64(limit)
		}
	}
	reset := max(1, bestWindow-now%bestWindow)
	x.resp.setHeader("RateLimit-Limit", num(bestLimit))
	x.resp.setHeader("RateLimit-Remaining", num(best))
	x.resp.setHeader("RateLimit-Reset", num(reset))
	if stop != "" {
		x.resp.setHeader("Retry-After", num(reset))
	}
}
