// Package doctor examines a running gateway from outside, as an attacker and
// as an operator would: what it lets pass, what it believes, whether its
// process lives and runs what it should, its clock, its keys and certificates.
//
// It is safe in production. It never sends a request that could start a run: a
// route that starts one is asked without a token, or with one that can't pass,
// and always with a body that no route takes. The number of requests is
// bounded, they come slowly, and say who sends them.
//
// Read [Examine] first; each file of checks is one question.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/kongyml"
)

// Verdict says how bad a finding is.
type Verdict string

// The verdicts, from good to bad. Unknown is what can't be told from here.
const (
	OK      Verdict = "ok"
	Unknown Verdict = "unknown"
	Warning Verdict = "warning"
	Danger  Verdict = "danger"
)

// Finding is the answer to one question.
type Finding struct {
	// Check is the question's stable name.
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Target is what was asked, where there are several.
	Target string `json:"target,omitempty"`
	// Says is what was seen; Means what follows from it, and Do what to do
	// about it, both empty where all is well.
	Says  string `json:"says"`
	Means string `json:"means,omitempty"`
	Do    string `json:"do,omitempty"`
}

// Report is a whole examination.
type Report struct {
	Gateway  string    `json:"gateway"`
	Time     time.Time `json:"time"`
	Requests int       `json:"requests"`
	Findings []Finding `json:"findings"`
}

// Worst is the gravest verdict; what is unknown counts as well.
func (r Report) Worst() Verdict {
	order := []Verdict{OK, Unknown, Warning, Danger}
	worst := OK
	for _, f := range r.Findings {
		if slices.Index(order, f.Verdict) > slices.Index(order, worst) {
			worst = f.Verdict
		}
	}
	return worst
}

// Options say what is examined. Only Gateway is required; what else is given
// answers more questions.
type Options struct {
	// Gateway is where clients reach it: scheme, host, and nothing else.
	Gateway string
	// File is the kong.yml that it should run.
	File *kongyml.File
	// Env gives the environment's variables, for Kong's env vault.
	Env func(string) (string, bool)
	// Paths are asked without a token where there is no File, or in addition.
	Paths []string
	// Issuer and Audience are those of tokens that are taken. Default: File's.
	Issuer, Audience string
	// Token is a true access token. IDToken is no access token, and must be
	// refused.
	Token, IDToken string
	// EchoPath leads to an upstream that answers with the headers it got.
	EchoPath string
	// Prefect is the address of Prefect's API, as others could know it.
	Prefect string
	// Process is the address of the plugin process's own port (serve --listen).
	Process string
	// Roots are the certificate authorities to trust. Default: the system's.
	Roots *x509.CertPool
	// PerSecond bounds how many requests are sent in a second. Default: 10.
	PerSecond int
	// MaxRequests bounds them all. Default: 300.
	MaxRequests int
	// Progress hears what is examined next. Optional.
	Progress func(check string)
	// Version is told in the User-Agent.
	Version string
}

// ErrOptions is in the errors of options that can't work.
var ErrOptions = errors.New("can't be examined")

// examination is one at work.
type examination struct {
	Options
	probe   *probe
	targets []target
	skipped []string // routes that can't be asked, and why
	report  Report
	// answers are those without a token, by target.
	answers map[string]answer
}

// checks are the questions in their order. The first ones find out what the
// later ones need.
var checks = []struct {
	name string
	ask  func(*examination, context.Context)
}{
	{"reachable", (*examination).reachable},
	{"routes", (*examination).identityOnRoutes},
	{"process", (*examination).process},
	{"spoofed headers", (*examination).spoofedHeaders},
	{"tokens", (*examination).tokenKinds},
	{"unknown keys", (*examination).unknownKeyStorm},
	{"side doors", (*examination).sideDoors},
	{"clocks", (*examination).clocks},
	{"certificate", (*examination).certificate},
	{"keys", (*examination).keys},
}

// Examine asks all questions that the options make possible.
func Examine(ctx context.Context, o Options) (Report, error) {
	u, err := url.Parse(strings.TrimSuffix(o.Gateway, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" || u.User != nil {
		return Report{}, fmt.Errorf("%w: the gateway's address must be http(s)://host[:port]", ErrOptions)
	}
	x := examination{Options: o, report: Report{Gateway: u.String(), Time: time.Now().UTC()}, answers: map[string]answer{}}
	x.probe = newProbe(u, o)
	defer x.probe.close()
	if x.targets, err = x.findTargets(); err != nil {
		return Report{}, err
	}
	for _, c := range checks {
		if ctx.Err() != nil {
			return x.report, ctx.Err()
		}
		if o.Progress != nil {
			o.Progress(c.name)
		}
		c.ask(&x, ctx)
		if c.name == "reachable" && x.report.Worst() == Danger {
			break // nothing else could be told
		}
	}
	x.report.Requests = x.probe.sent
	return x.report, nil
}

// add notes a finding. What is well needs neither meaning nor advice.
func (x *examination) add(f Finding) {
	if f.Verdict == OK {
		f.Means, f.Do = "", ""
	}
	x.report.Findings = append(x.report.Findings, f)
}

// leaveOpen makes unknown what seemed well: one of the questions behind it has
// no answer.
func (f *Finding) leaveOpen(why string) {
	if f.Verdict == OK {
		f.Verdict, f.Says, f.Means, f.Do = Unknown, why, "", ""
	}
}

// unknown notes what can't be told, and what would tell it.
func (x *examination) unknown(check, says, do string) {
	x.add(Finding{Check: check, Verdict: Unknown, Says: says, Do: do})
}

func (x *examination) reachable(ctx context.Context) {
	got := x.probe.get(ctx, "/")
	if got.err != nil {
		x.add(Finding{Check: "reachable", Verdict: Danger, Says: got.err.Error(),
			Means: "No client gets an answer from here.", Do: "Look whether Kong runs, and what stands between."})
		return
	}
	x.add(Finding{Check: "reachable", Verdict: OK, Says: fmt.Sprintf("answers with %d", got.status)})
}
