package devgateway

import (
	"io"
	"slices"
	"strconv"
	"strings"
)

// bufferResponse is Kong's buffered proxying, for plugins with a response
// phase: the whole answer is read, then they may change it.
func (x *exchange) bufferResponse(res *upstreamResponse) bool {
	body, err := io.ReadAll(res.reader())
	res.done(x.gw.upstreams, err == nil)
	if err != nil {
		return x.finish(x.nginxError(502), x.head.keepAlive())
	}
	res.body = body
	x.buffered = res
	x.takeBuffered(res)
	x.phase = phaseResponse
	for _, b := range x.plan {
		if b.kind.phases[phaseResponse] && x.answer == nil {
			b.kind.run(x, b.plugin, phaseResponse)
		}
	}
	if a := x.answer; a != nil {
		return x.finish(a, x.head.keepAlive())
	}
	x.resp.setHeader("Content-Length", strconv.Itoa(len(body)))
	a := &answer{status: x.resp.status, body: body}
	return x.finish(a, x.head.keepAlive())
}

// takeBuffered copies a buffered response's headers through Lua, which turns
// underscores in their names into dashes.
func (x *exchange) takeBuffered(res *upstreamResponse) {
	x.resp.status = res.status
	var mine responseState
	for _, l := range res.headers {
		low := strings.ToLower(l.name)
		if slices.Contains(hopHeaders, low) {
			continue
		}
		if mine.headers.has(strings.ReplaceAll(l.name, "_", "-")) {
			mine.addHeader(l.name, l.value)
		} else {
			mine.setHeader(l.name, l.value)
		}
	}
	for _, l := range mine.headers {
		x.resp.headers.del(l.name)
	}
	x.resp.headers = append(x.resp.headers, mine.headers...)
}

func (x *exchange) wantsBuffering() bool {
	on := slices.ContainsFunc(x.plan, func(b *boundPlugin) bool { return b.kind.phases[phaseResponse] })
	if on && x.upstream.upgrade != "" {
		x.gw.log.kong("notice", "response buffering was turned off: connection upgrade (%s)", x.upstream.upgrade)
		return false
	}
	return on
}
