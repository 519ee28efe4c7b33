package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// How far two clocks may be apart: tokens have 30 s of leeway by default.
const (
	skewWarning = 5 * time.Second
	skewDanger  = 25 * time.Second
)

// clocks compares the gateway's with this machine's, and with the issuer's,
// by the Date of their answers (RFC 9110, section 6.6.1).
func (x *examination) clocks(ctx context.Context) {
	gateway, ok := skewOf(x.probe.get(ctx, "/"))
	if !ok {
		x.unknown("clock", "the gateway's answers have no Date", "")
		return
	}
	x.add(skewFinding("this machine's", gateway))
	base, err := url.Parse(strings.TrimSuffix(x.Issuer, "/"))
	if err != nil || base.Host == "" {
		x.unknown("clock", "not compared with the issuer's", "Give --config kong.yml or --issuer.")
		return
	}
	issuer, ok := skewOf(x.probe.ask(ctx, question{base: base, path: "/.well-known/openid-configuration"}))
	if !ok {
		x.unknown("clock", "the issuer can't be asked from here", "")
		return
	}
	x.add(skewFinding("the issuer's", gateway-issuer))
}

// skewOf is how far an answer's clock is ahead of this machine's.
func skewOf(a answer) (time.Duration, bool) {
	if a.err != nil {
		return 0, false
	}
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return 0, false
	}
	// The Date is cut to whole seconds, and was written in between.
	middle := a.before.Add(a.after.Sub(a.before) / 2)
	return date.Add(500 * time.Millisecond).Sub(middle), true
}

func skewFinding(whose string, skew time.Duration) Finding {
	side := "ahead of"
	if skew < 0 {
		side = "behind"
	}
	f := Finding{Check: "clock", Target: whose, Verdict: OK, Says: fmt.Sprintf("the gateway's is %.0f s %s %s", skew.Abs().Seconds(), side, whose),
		Means: "Tokens seem not yet valid, or expired, and stamps and the audit have wrong times.", Do: "Set the clocks by NTP."}
	switch {
	case skew.Abs() >= skewDanger:
		f.Verdict = Danger
	case skew.Abs() >= skewWarning:
		f.Verdict = Warning
	default:
		f.Says = "the gateway's agrees with " + whose
	}
	return f
}
