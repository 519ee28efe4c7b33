package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// spoofable are headers by which a client could pretend to be somebody, to the
// gateway, to an upstream or to Prefect.
var spoofable = []string{
	"X-Caller-Subject", "X-Caller-Roles", "X-Caller-Name", "X-Caller-Assertion", "X-Consumer-Id", "X-Consumer-Username", "X-Consumer-Custom-Id",
	"X-Consumer-Groups", "X-Credential-Identifier", "X-Authenticated-Groups", "X-Authenticated-Userid", "Prefect-Automation-Id", "Prefect-Automation-Name",
}

// spellings are ways to write a header's name that some server reads as the
// same.
var spellings = []struct {
	name  string
	write func(string) string
}{
	{"as it is", func(s string) string { return s }},
	{"in lower case", strings.ToLower},
	{"in upper case", strings.ToUpper},
	{"with underscores", func(s string) string { return strings.ReplaceAll(s, "-", "_") }},
	{"with some underscores", func(s string) string { return strings.Replace(strings.ToLower(s), "-", "_", 1) }},
}

// spoofedHeaders sends them all: without a token nobody may be let in by them,
// and with one none may reach an upstream.
func (x *examination) spoofedHeaders(ctx context.Context) {
	const check = "spoofed headers"
	closed := x.closed()
	if len(closed) == 0 {
		x.unknown(check, "no target refuses requests without a token, so nothing can be compared", "")
	}
	for _, t := range closed[:min(len(closed), 3)] {
		f := Finding{Check: check, Target: t.name, Verdict: OK, Says: fmt.Sprintf("let nobody in, in %d spellings", len(spellings)),
			Means: "A header makes somebody of a client without a token.", Do: "Find which plugin or proxy believes it; run prefect-identity on the route."}
		for _, s := range spellings {
			q := t.question()
			q.header = spoofed("root", s.write)
			got := x.probe.ask(ctx, q)
			if why := got.saysNothing(); why != "" {
				f.leaveOpen("the answer to headers " + s.name + " says nothing: " + why)
			} else if got.status != http.StatusUnauthorized {
				f.Verdict, f.Says = Danger, fmt.Sprintf("%s %s without a token, with X-Caller-, X-Consumer- and such headers %s: %d instead of 401", t.method, t.path, s.name, got.status)
			}
		}
		x.add(f)
	}
	x.echoed(ctx)
}

// echoed asks an upstream which headers it got.
func (x *examination) echoed(ctx context.Context) {
	const check = "headers at the upstream"
	if x.EchoPath == "" {
		x.unknown(check, "not asked", "Give --echo PATH of an upstream that answers with the headers it got, and --token-file.")
		return
	}
	var through []string
	for _, s := range spellings {
		marker := "kp-doctor-" + rand.Text()
		got := x.probe.ask(ctx, question{path: x.EchoPath, token: x.Token, header: spoofed(marker, s.write)})
		switch {
		case got.err != nil || got.status != http.StatusOK:
			x.unknown(check, fmt.Sprintf("%s answers with %d %s", x.EchoPath, got.status, got.code()), "Give the path of an upstream that answers with the headers it got, and a token that may reach it.")
			return
		case bytes.Contains(got.body, []byte(marker)):
			through = append(through, s.name)
		case !bytes.Contains(got.body, []byte("kong-prefect-doctor")):
			x.unknown(check, x.EchoPath+" doesn't answer with the headers it got", "Give the path of one that does.")
			return
		}
	}
	if len(through) > 0 {
		x.add(Finding{Check: check, Verdict: Danger, Says: "X-Caller- or X-Consumer- headers of the client reach the upstream, written " + strings.Join(through, " and "),
			Means: "Whoever calls can pretend to be anybody there.", Do: "Run prefect-identity on the route, and nothing after it that puts such headers back."})
	} else {
		x.add(Finding{Check: check, Verdict: OK, Says: fmt.Sprintf("none of %d reaches the upstream, in %d spellings", len(spoofable), len(spellings))})
	}
	// Connection names headers to drop, ours among them.
	if x.Token == "" {
		return
	}
	got := x.probe.ask(ctx, question{path: x.EchoPath, token: x.Token, header: map[string][]string{"Connection": {"X-Caller-Subject"}}})
	f := Finding{Check: "Connection header", Verdict: OK, Says: fmt.Sprintf("one that names ours is answered with %d", got.status),
		Means: "A client can make Kong drop the headers that say who calls.", Do: "Run prefect-identity on the route."}
	if why := got.saysNothing(); why != "" {
		f.leaveOpen("one that names ours: " + why)
	} else if !slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized}, got.status) {
		f.Verdict = Danger
	}
	x.add(f)
}

func spoofed(value string, write func(string) string) map[string][]string {
	h := map[string][]string{}
	for _, name := range spoofable {
		h[write(name)] = []string{value}
	}
	return h
}
