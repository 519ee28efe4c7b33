package doctor

import (
	"context"
	"fmt"
	"net/http"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// identityOnRoutes asks every target without a token.
func (x *examination) identityOnRoutes(ctx context.Context) {
	const check = "identity"
	for _, s := range x.skipped {
		x.unknown(check, s+" isn't asked", "Give --path of a request that it takes, which must not be open.")
	}
	if len(x.targets) == 0 {
		x.unknown(check, "no path is known that must not be open", "Give --config kong.yml, or --path for each.")
		return
	}
	for _, t := range x.targets {
		if t.open {
			continue // no plugin of ours is configured there: nobody promised anything
		}
		got := x.probe.ask(ctx, t.question())
		x.answers[t.name] = got
		x.add(judge(t, got))
	}
}

// judge says what an answer to a request without a token shows.
func judge(t target, got answer) Finding {
	f := Finding{Check: "identity", Target: t.name, Verdict: Danger, Says: fmt.Sprintf("%s %s without a token: %d", t.method, t.path, got.status)}
	if code := got.code(); code != "" {
		f.Says += " " + code
	}
	switch code := got.code(); {
	case got.err != nil:
		f.Verdict, f.Says = Unknown, fmt.Sprintf("%s %s: %v", t.method, t.path, got.err)
		if got.err != errBudget {
			f.Verdict = Danger
			f.Means, f.Do = "The plugin process hangs, or what stands between.", "Look into the gateway's log; restart the plugin process."
		}
	case code == plugin.CodeIdentityMissing:
		f.Means, f.Do = "prefect-identity doesn't run on this route, so nobody is let in.", "Configure it for the route, its service or the whole gateway."
	case code == plugin.CodeConfigInvalid:
		f.Means, f.Do = "The configuration of a plugin on this route can't work: it refuses everybody.", "The gateway's log names the field; kong-prefect check finds it in the file."
	case code != "":
		f.Verdict = OK
	case got.noRoute() && t.expected:
		f.Means, f.Do = "kong.yml has this route and the gateway doesn't: it runs another configuration, an old one perhaps.", "Load kong.yml, and look whether Kong took it."
	case got.noRoute():
		f.Verdict, f.Means = Unknown, "No route takes this path."
	case got.status == http.StatusInternalServerError:
		f.Means, f.Do = "The plugin process is dead or can't be reached: Kong answers 500 in its place.", "See whether kong-prefect runs, and whether its socket is where Kong looks."
	case t.anonymous && got.status < http.StatusInternalServerError:
		f.Verdict = OK
		f.Says += ", as anonymous in kong.yml has it"
	case got.status < http.StatusInternalServerError && got.saysNothing() != "":
		f.Verdict, f.Means = Unknown, "It tells nothing: "+got.saysNothing()+"."
	default:
		f.Means, f.Do = "The request passed without a token: prefect-identity doesn't run here.", "Configure it for the route, its service or the whole gateway; until then take the route away."
	}
	return f
}
