package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// sideDoors looks for ways to Prefect's API past the guard.
func (x *examination) sideDoors(ctx context.Context) {
	x.directDoor(ctx)
	for _, t := range x.closed() {
		if !t.guards {
			continue
		}
		// The same operation, written as another server might read it.
		f := Finding{Check: "other spellings of a path", Target: t.name, Verdict: OK, Says: "none is open",
			Means: "The guard and the server read this path differently.", Do: "Report it; until then let nothing but the guard's routes lead to Prefect."}
		base := strings.TrimSuffix(t.path, "/admin/version")
		for _, path := range []string{"/%61dmin/version", "//admin/version", "/./admin/version", "/x/../admin/version", "/admin/version/", "/admin%2fversion", "/ADMIN/version", "/admin/version;x"} {
			got := x.probe.ask(ctx, question{path: base + path, host: t.host})
			if got.err != nil {
				f.leaveOpen(base + path + ": " + got.err.Error())
			} else if got.status < http.StatusBadRequest && !got.toTLS {
				f.Verdict, f.Says = Danger, fmt.Sprintf("GET %s without a token: %d", base+path, got.status)
			}
		}
		x.add(f)
	}
	for _, t := range x.targets {
		if t.guards || t.starts {
			continue
		}
		// To Prefect %2f is a slash, and to Kong it is none.
		for _, path := range []string{"/admin/version", "/api/admin/version", "/api%2fadmin%2fversion"} {
			q := question{path: strings.TrimSuffix(t.path, "/") + path, host: t.host}
			if !t.open {
				q.token = x.Token // somebody without any role at Prefect, as far as the guard isn't asked
			}
			if x.throughGuard(q.path) || !isPrefect(x.probe.ask(ctx, q)) {
				continue
			}
			x.add(Finding{Check: "side door", Target: t.name, Verdict: Danger, Says: "GET " + q.path + " leads to Prefect's API without a guard",
				Means: "Whoever reaches the gateway can do everything there.", Do: "Put prefect-guard on the route, or take it away."})
			break
		}
	}
}

// throughGuard tells whether a guard's route takes a path, as Kong compares
// them.
func (x *examination) throughGuard(path string) bool {
	return slices.ContainsFunc(x.targets, func(t target) bool {
		return t.guards && strings.HasPrefix(path, t.beginning)
	})
}

// isPrefect tells an answer of Prefect's GET /api/admin/version, which is its
// version as a JSON string.
func isPrefect(a answer) bool {
	return a.err == nil && a.status == http.StatusOK && strings.HasPrefix(a.header.Get("Content-Type"), "application/json") &&
		strings.HasPrefix(string(a.body), `"`) && strings.Count(string(a.body), ".") >= 2
}

// directDoor asks Prefect itself, as somebody would who knows where it is.
func (x *examination) directDoor(ctx context.Context) {
	const check = "side door"
	if x.Prefect == "" {
		x.unknown(check, "whether Prefect's API can be reached past the gateway wasn't asked", "Give --prefect-url, from where callers are.")
		return
	}
	base, err := url.Parse(strings.TrimSuffix(x.Prefect, "/"))
	if err != nil || base.Host == "" {
		x.unknown(check, "--prefect-url is no address", "Give it as http://prefect:4200/api.")
		return
	}
	got := x.probe.ask(ctx, question{base: base, path: "/admin/version"})
	f := Finding{Check: check, Target: x.Prefect, Verdict: OK}
	switch {
	case got.err == errBudget:
		f.Verdict, f.Says = Unknown, got.err.Error()
	case got.err != nil:
		f.Says = "Prefect's API can't be reached from here: " + got.err.Error()
	case got.status == http.StatusUnauthorized || got.status == http.StatusForbidden:
		f.Verdict, f.Says = Warning, fmt.Sprintf("Prefect's API answers from here with %d", got.status)
		f.Means, f.Do = "One shared password is all that is between callers and the API; no role and no record.", "Let nobody but the gateway reach Prefect's address."
	case got.status < http.StatusBadRequest:
		f.Verdict, f.Says = Danger, fmt.Sprintf("Prefect's API is open from here: GET /admin/version answers with %d", got.status)
		f.Means, f.Do = "Whoever is here can do everything, past every role and record.", "Let nobody but the gateway reach Prefect's address, and set PREFECT_SERVER_API_AUTH_STRING."
	default:
		f.Verdict, f.Says = Unknown, fmt.Sprintf("what is there answers with %d", got.status)
	}
	x.add(f)
}
