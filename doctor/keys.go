package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/signing"
)

// How long a certificate should be good for, at least.
const (
	certificateWarning = 21 * 24 * time.Hour
	certificateDanger  = 3 * 24 * time.Hour
)

// certificate looks at the gateway's own.
func (x *examination) certificate(ctx context.Context) {
	const check = "certificate"
	if x.probe.gateway.Scheme != "https" {
		f := Finding{Check: check, Verdict: Warning, Says: "the gateway is reached without TLS",
			Means: "Whoever is on the way reads the tokens.", Do: "Examine it at the address that clients use, and let that be https."}
		if ip := net.ParseIP(x.probe.gateway.Hostname()); x.probe.gateway.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			f.Verdict, f.Says = OK, "none, on this machine"
		}
		x.add(f)
		return
	}
	got := x.probe.get(ctx, "/")
	if got.tls == nil || len(got.tls.PeerCertificates) == 0 {
		x.unknown(check, "wasn't seen", "")
		return
	}
	x.add(expiry(check, "", got.tls.PeerCertificates[0].NotAfter))
}

func expiry(check, target string, at time.Time) Finding {
	left := time.Until(at)
	f := Finding{Check: check, Target: target, Verdict: OK, Says: "is good until " + at.UTC().Format(time.DateOnly),
		Means: "Afterwards nobody gets in.", Do: "Renew it, and see why that didn't happen by itself."}
	switch {
	case left < certificateDanger:
		f.Verdict = Danger
	case left < certificateWarning:
		f.Verdict = Warning
	}
	return f
}

// keys looks at the issuer's, and at those that the gateway publishes.
func (x *examination) keys(ctx context.Context) {
	set, err := x.issuerKeys(ctx)
	switch {
	case x.Issuer == "":
		x.unknown("issuer's keys", "not asked", "Give --config kong.yml or --issuer.")
	case err != nil:
		x.unknown("issuer's keys", "from here: "+err.Error(), "See whether the gateway's machine reaches "+x.Issuer+".")
	case len(set.Keys) == 0:
		x.add(Finding{Check: "issuer's keys", Target: x.Issuer, Verdict: Danger, Says: "there are none", Means: "No token can be verified.", Do: "Ask the issuer's operator."})
	default:
		x.add(Finding{Check: "issuer's keys", Target: x.Issuer, Verdict: OK, Says: fmt.Sprintf("%d are published", len(set.Keys))})
		for _, k := range set.Keys {
			if len(k.Certificates) > 0 && time.Until(k.Certificates[0].NotAfter) < certificateWarning {
				x.add(expiry("issuer's keys", "key "+k.KeyID, k.Certificates[0].NotAfter))
			}
		}
	}
	got := x.probe.get(ctx, plugin.KeySetPath)
	switch published, err := signing.ParseKeySet(got.body); {
	case got.err != nil || got.status != http.StatusOK:
		x.unknown("gateway's keys", fmt.Sprintf("aren't published at %s (%d)", plugin.KeySetPath, got.status), "Let a route lead there where flows or upstreams check stamps and assertions.")
	case err != nil:
		x.unknown("gateway's keys", "what answers at "+plugin.KeySetPath+" is no key set of a gateway", "Let a route with prefect-identity lead there where flows or upstreams check stamps and assertions.")
	default:
		x.add(Finding{Check: "gateway's keys", Verdict: OK, Says: fmt.Sprintf("%d are published", len(published.IDs()))})
	}
}
