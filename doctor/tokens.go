package doctor

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/kong-prefect/kong-prefect/plugin"
)

const (
	// stormSize is how many tokens of unknown keys are sent.
	stormSize = 20
	// maxGood bounds on how many targets a true token is tried.
	maxGood = 20
	// stormSlow is what an answer to one may take.
	stormSlow = 5 * time.Second
)

// forged is a token that must be refused.
type forged struct{ what, token string }

// tokenKinds sends tokens that a gateway must not take. Each says what a good
// one would say, so that nothing but its kind is wrong.
func (x *examination) tokenKinds(ctx context.Context) {
	const check = "tokens"
	closed := x.closed()
	if len(closed) == 0 {
		x.unknown(check, "no target refuses requests without a token", "")
		return
	}
	t := closed[0]
	if x.Token != "" {
		for _, t := range closed[:min(len(closed), maxGood)] {
			x.goodToken(ctx, t)
		}
	}
	list, missing := x.forgeries(ctx)
	var taken, failed, unsaid []string
	for _, f := range list {
		q := t.question()
		q.token = f.token
		got := x.probe.ask(ctx, q)
		what := fmt.Sprintf("%s (%d %s)", f.what, got.status, got.code())
		switch {
		case got.err == errBudget:
			unsaid = append(unsaid, f.what+": "+got.err.Error())
		case got.err != nil, got.status >= http.StatusInternalServerError:
			failed = append(failed, what)
		case got.saysNothing() != "":
			unsaid = append(unsaid, f.what+": "+got.saysNothing())
		case got.status != http.StatusUnauthorized:
			taken = append(taken, what)
		}
	}
	switch {
	case len(failed) > 0 && len(taken) == 0:
		x.add(Finding{Check: check, Target: t.name, Verdict: Warning, Says: "can't be decided on: " + strings.Join(failed, ", "),
			Means: "The gateway can't tell now who calls; it lets nobody in.", Do: "See whether it reaches the issuer."})
	case len(taken) > 0:
		x.add(Finding{Check: check, Target: t.name, Verdict: Danger, Says: "aren't refused with 401: " + strings.Join(taken, ", "),
			Means: "What is no access token for this gateway lets its sender in, or a gateway in front decides otherwise.",
			Do:    "Look at insecure_ settings of prefect-identity, and at what verifies tokens before it."})
	case len(unsaid) > 0:
		x.unknown(check, "of some kinds nothing is known: "+strings.Join(unsaid, ", "), "")
	case len(list) > 0:
		x.add(Finding{Check: check, Target: t.name, Verdict: OK, Says: fmt.Sprintf("%d kinds that are none are refused", len(list))})
	}
	for _, m := range missing {
		x.unknown(check, m[0], m[1])
	}
}

// goodToken reads with a true token: GET starts nothing, on no route.
func (x *examination) goodToken(ctx context.Context, t target) {
	got := x.probe.ask(ctx, question{method: http.MethodGet, path: t.path, host: t.host, token: x.Token})
	f := Finding{Check: "good token", Target: t.name, Verdict: OK, Says: fmt.Sprintf("GET %s: %d %s", t.path, got.status, got.code())}
	switch {
	case got.err != nil:
		f.Verdict, f.Says = Unknown, got.err.Error()
	case got.noRoute():
		f.Verdict, f.Do = Unknown, "The route takes no GET, and nothing else is sent with a true token."
	case got.code() == plugin.CodeConfigInvalid:
		f.Verdict, f.Means = Danger, "The configuration of a plugin on this route can't work: it refuses everybody."
		f.Do = "The gateway's log names the field."
	case got.status == http.StatusUnauthorized:
		f.Verdict, f.Means, f.Do = Danger, "A true token isn't taken.", "kong-prefect explain tells why."
	case got.status >= http.StatusInternalServerError:
		f.Verdict, f.Means, f.Do = Warning, "The route can't do its work for a caller with a true token.", "The gateway's log has the cause, under this code."
	}
	x.add(f)
}

// forgeries are as many as what is known allows.
func (x *examination) forgeries(ctx context.Context) (list []forged, missing [][2]string) {
	list = append(list, forged{"a text that is no token", rand.Text()})
	claims, header := x.goodClaims()
	if claims == nil {
		return list, [][2]string{{"which tokens are taken isn't known, so none that looks like one was sent", "Give --config kong.yml, --issuer and --audience, or --token-file."}}
	}
	add := func(what string, method jwt.SigningMethod, key any, more map[string]any) {
		token := jwt.NewWithClaims(method, claims)
		maps.Copy(token.Header, header)
		maps.Copy(token.Header, more)
		token.Header["alg"] = method.Alg()
		if compact, err := token.SignedString(key); err == nil {
			list = append(list, forged{what, compact})
		}
	}
	add("alg none", jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil)
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return list, [][2]string{{err.Error(), ""}}
	}
	add("signed by a stranger under the issuer's key id", jwt.SigningMethodRS256, foreign, nil)
	add("a stranger's key in its own header", jwt.SigningMethodRS256, foreign, map[string]any{"jwk": jose.JSONWebKey{Key: &foreign.PublicKey, KeyID: "doctor"}, "kid": "doctor"})
	if public := x.issuerKey(ctx); public != nil {
		header["kid"] = public.KeyID
		if der, err := x509.MarshalPKIXPublicKey(public.Key); err == nil {
			add("HS256 with the issuer's public key as the secret", jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil)
		}
	} else {
		missing = append(missing, [2]string{"HS256 with the issuer's public key wasn't sent: its keys can't be had from here", "Give --issuer, where it can be reached."})
	}
	if parts := strings.Split(x.Token, "."); len(parts) == 3 {
		changed := maps.Clone(claims)
		changed["sub"] = "kong-prefect-doctor"
		if payload, err := json.Marshal(changed); err == nil {
			list = append(list, forged{"a true token with another subject", parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]})
		}
	}
	if x.IDToken != "" {
		list = append(list, forged{"an ID token", x.IDToken})
	} else {
		missing = append(missing, [2]string{"an ID token wasn't sent", "Give --id-token-file."})
	}
	return list, missing
}

// goodClaims are what a token that is taken says; nil: nobody knows.
func (x *examination) goodClaims() (jwt.MapClaims, map[string]any) {
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": x.Issuer, "aud": x.Audience, "sub": "kong-prefect-doctor", "client_id": "kong-prefect-doctor",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	header := map[string]any{"typ": "at+jwt", "kid": "doctor"}
	token, _, err := jwt.NewParser().ParseUnverified(x.Token, jwt.MapClaims{})
	if err == nil {
		claims, _ = token.Claims.(jwt.MapClaims)
		header = token.Header
	}
	issuer, _ := claims["iss"].(string)
	if x.Issuer = cmp.Or(x.Issuer, issuer); x.Issuer == "" || claims["aud"] == "" {
		return nil, nil
	}
	return claims, header
}

// issuerKey is one of the issuer's RSA or ECDSA keys; nil: they can't be had.
func (x *examination) issuerKey(ctx context.Context) *jose.JSONWebKey {
	set, _ := x.issuerKeys(ctx)
	for _, k := range set.Keys {
		switch k.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
			return &k
		}
	}
	return nil
}

// issuerKeys asks the issuer by discovery.
func (x *examination) issuerKeys(ctx context.Context) (set jose.JSONWebKeySet, err error) {
	base, err := url.Parse(strings.TrimSuffix(x.Issuer, "/"))
	if err != nil || base.Host == "" {
		return set, fmt.Errorf("the issuer isn't known")
	}
	found := x.probe.ask(ctx, question{base: base, path: "/.well-known/openid-configuration"})
	var document struct {
		JWKSURI string `json:"jwks_uri"`
	}
	if found.err != nil || found.status != http.StatusOK || json.Unmarshal(found.body, &document) != nil {
		return set, fmt.Errorf("its discovery can't be read")
	}
	keys, err := url.Parse(document.JWKSURI)
	if err != nil || keys.Host == "" {
		return set, fmt.Errorf("its discovery names no jwks_uri")
	}
	path := keys.RequestURI()
	got := x.probe.ask(ctx, question{base: &url.URL{Scheme: keys.Scheme, Host: keys.Host}, path: path})
	if got.err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &set) != nil {
		return set, fmt.Errorf("its key set can't be read")
	}
	return set, nil
}

// unknownKeyStorm sends tokens that name keys which nobody has. The gateway
// must refuse them, quickly, and not ask its issuer for each.
func (x *examination) unknownKeyStorm(ctx context.Context) {
	const check = "unknown keys"
	closed := x.closed()
	claims, _ := x.goodClaims()
	if len(closed) == 0 || claims == nil {
		x.unknown(check, "not sent", "Give --config kong.yml, or --path, --issuer and --audience.")
		return
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		x.unknown(check, err.Error(), "")
		return
	}
	other, slowest := 0, time.Duration(0)
	last := answer{}
	for range stormSize {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		token.Header["kid"], token.Header["typ"] = rand.Text(), "at+jwt"
		q := closed[0].question()
		if q.token, err = token.SignedString(key); err != nil {
			break
		}
		got := x.probe.ask(ctx, q)
		if why := got.saysNothing(); why != "" && (got.err == errBudget || got.err == nil && got.status < http.StatusInternalServerError) {
			x.unknown(check, "nothing is known: "+why, "")
			return
		}
		if got.err != nil || got.status != http.StatusUnauthorized {
			other++
			last = got
		}
		slowest = max(slowest, got.after.Sub(got.before))
	}
	f := Finding{Check: check, Target: closed[0].name, Verdict: OK, Says: fmt.Sprintf("%d tokens of keys that nobody has are refused, the slowest in %d ms", stormSize, slowest.Milliseconds())}
	switch {
	case other > 0 && last.err == nil && last.status < http.StatusInternalServerError:
		f.Verdict, f.Says = Danger, fmt.Sprintf("%d of %d aren't refused with 401, but with %d", other, stormSize, last.status)
		f.Means, f.Do = "A token that nobody signed isn't refused.", "Look at what verifies tokens on this route."
	case other > 0:
		f.Verdict, f.Says = Warning, fmt.Sprintf("%d of %d are answered with %d %s", other, stormSize, last.status, last.code())
		f.Means, f.Do = "Strangers can make the gateway fail, or its issuer's keys can't be had.", "See whether the gateway reaches the issuer."
	case slowest > stormSlow:
		f.Verdict, f.Means, f.Do = Warning, "Strangers may keep the gateway waiting for its issuer.", "See how fast the issuer answers."
	}
	x.add(f)
}
