package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

func TestVerifyAcceptsEveryAsymmetricAlgorithm(t *testing.T) {
	t.Parallel()
	for _, alg := range token.DefaultAlgorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s := newSetupFor(t, tokentest.New(t, alg), token.KeyCacheOptions{})
			v := s.accepts(t, s.issuer.Mint(t, map[string]any{"n": 12345678901234567}))
			require.Equal(t, s.issuer.URL, v.Issuer())
			require.Equal(t, "f:alice", v.Subject())
			require.Equal(t, "cli", v.Client())
			require.Equal(t, []string{tokentest.Audience}, v.Audiences())
			require.False(t, v.IsZero() || v.Opaque() || v.Bound())
			n, ok := v.Claim("n")
			require.True(t, ok)
			require.Equal(t, json.Number("12345678901234567"), n)
			_, ok = v.Claim("SUB")
			require.False(t, ok, "names are exact")
		})
	}
}

func TestAlgNoneInEverySpelling(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	good := strings.Split(s.issuer.Mint(t, nil), ".")
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "", " none", "none\x00", nil, 0, []string{"ES256"}, tokentest.Absent} {
		header := map[string]any{"alg": alg, "kid": s.issuer.Key().ID}
		if alg == tokentest.Absent {
			delete(header, "alg")
		}
		h := segment(t, header)
		for _, signature := range []string{"", good[2], "AAAA"} {
			s.refuses(t, token.ReasonAlgorithm, h+"."+good[1]+"."+signature)
		}
	}
}

func TestHMACWithThePublicKeyAsSecret(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s := newSetupFor(t, tokentest.New(t, alg), token.KeyCacheOptions{})
			key := s.issuer.Key()
			der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
			require.NoError(t, err)
			jwk, err := json.Marshal(key.JWK())
			require.NoError(t, err)
			forms := map[string][]byte{
				"pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "der": der, "jwk": jwk,
				"pem without newline": []byte(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))),
			}
			for name, secret := range forms {
				t.Run(name, func(t *testing.T) {
					input := segment(t, map[string]any{"alg": "HS256", "kid": key.ID, "typ": "at+jwt"}) + "." + segment(t, s.issuer.Claims(nil))
					mac := hmac.New(sha256.New, secret)
					mac.Write([]byte(input))
					s.refuses(t, token.ReasonAlgorithm, input+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
				})
			}
		})
	}
}

func TestAlgorithmOutsideTheList(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.Algorithms = []string{"RS256", "EdDSA"} })
	s.refuses(t, token.ReasonAlgorithm, s.issuer.Mint(t, nil))
}

func TestAlgorithmAgainstTheKey(t *testing.T) {
	t.Parallel()
	s := newSetupFor(t, tokentest.New(t, "RS256"), token.KeyCacheOptions{})
	rsaKey := s.issuer.Key()
	t.Run("PS256 with a key pinned to RS256", func(t *testing.T) {
		forged := *rsaKey
		forged.Algorithm = "PS256"
		s.refuses(t, token.ReasonAlgorithm, forged.Sign(t, nil, s.issuer.Claims(nil)))
	})
	t.Run("ES256 named for an RSA key", func(t *testing.T) {
		ec := tokentest.NewKey(t, rsaKey.ID, "ES256")
		s.refuses(t, token.ReasonAlgorithm, ec.Sign(t, nil, s.issuer.Claims(nil)))
	})
	t.Run("ES384 named for a P-256 key", func(t *testing.T) {
		s := newSetup(t)
		p384 := tokentest.NewKey(t, s.issuer.Key().ID, "ES384")
		s.refuses(t, token.ReasonAlgorithm, p384.Sign(t, nil, s.issuer.Claims(nil)))
	})
}

func TestECDSASignatureEdges(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	good := s.issuer.Mint(t, nil)
	input := good[:strings.LastIndexByte(good, '.')]
	raw, err := base64.RawURLEncoding.DecodeString(good[len(input)+1:])
	require.NoError(t, err)
	n := s.issuer.Key().Private.Public().(*ecdsa.PublicKey).Params().N
	one := big.NewInt(1)
	values := map[string]*big.Int{
		"zero": new(big.Int), "one": one, "n-1": new(big.Int).Sub(n, one), "n": n, "n+1": new(big.Int).Add(n, one),
	}
	r, sv := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	for name, x := range values {
		for where, sig := range map[string][]byte{"r": pair(x, sv), "s": pair(r, x), "both": pair(x, x)} {
			t.Run(where+" is "+name, func(t *testing.T) {
				s.refuses(t, token.ReasonSignature, input+"."+base64.RawURLEncoding.EncodeToString(sig))
			})
		}
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, sv})
	require.NoError(t, err)
	for name, sig := range map[string][]byte{"DER form": der, "too short": raw[:63], "too long": append(raw, 0)} {
		t.Run(name, func(t *testing.T) {
			s.refuses(t, token.ReasonSignature, input+"."+base64.RawURLEncoding.EncodeToString(sig))
		})
	}
}

func pair(r, s *big.Int) []byte {
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// RFC 7518 section 3.5: the salt is as long as the hash. The library would take
// any length.
func TestPSSSaltLength(t *testing.T) {
	t.Parallel()
	s := newSetupFor(t, tokentest.New(t, "PS256"), token.KeyCacheOptions{})
	key := s.issuer.Key()
	input := segment(t, map[string]any{"alg": "PS256", "kid": key.ID, "typ": "at+jwt"}) + "." + segment(t, s.issuer.Claims(nil))
	sum := sha256.Sum256([]byte(input))
	for length, good := range map[int]bool{32: true, 1: false, 20: false, 31: false, 33: false, 64: false, 222: false} {
		signature, err := rsa.SignPSS(rand.Reader, key.Private.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: length})
		require.NoError(t, err)
		compact := input + "." + base64.RawURLEncoding.EncodeToString(signature)
		if good {
			s.accepts(t, compact)
			continue
		}
		s.refuses(t, token.ReasonSignature, compact)
	}
}

func TestHeaderExtensions(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for name, header := range map[string]map[string]any{
		"crit unknown":    {"crit": []string{"exp"}, "exp": 1},
		"crit empty":      {"crit": []string{}},
		"crit no list":    {"crit": "b64"},
		"crit with b64":   {"crit": []string{"b64"}, "b64": false},
		"b64 false":       {"b64": false},
		"b64 true":        {"b64": true},
		"zip":             {"zip": "DEF"},
		"typ not string":  {"typ": 1},
		"cty not string":  {"cty": true},
		"kid array":       {"kid": []string{"key-1"}},
		"kid empty":       {"kid": ""},
		"kid number":      {"kid": 1},
		"kid null":        {"kid": nil},
		"kid of 600 byte": {"kid": strings.Repeat("k", 600)},
	} {
		t.Run(name, func(t *testing.T) {
			s.refuses(t, token.ReasonMalformed, s.issuer.MintWith(t, header, nil))
		})
	}
	t.Run("crit duplicated", func(t *testing.T) {
		header := []byte(`{"alg":"ES256","kid":"key-1","crit":["a"],"crit":[]}`)
		s.refuses(t, token.ReasonMalformed, s.issuer.Key().SignRaw(t, header, mustJSON(t, s.issuer.Claims(nil))))
	})
	t.Run("alg duplicated", func(t *testing.T) {
		header := []byte(`{"alg":"none","alg":"ES256","kid":"key-1"}`)
		s.refuses(t, token.ReasonMalformed, s.issuer.Key().SignRaw(t, header, mustJSON(t, s.issuer.Claims(nil))))
	})
	t.Run("alg in another case", func(t *testing.T) {
		header := []byte(`{"ALG":"ES256","kid":"key-1"}`)
		s.refuses(t, token.ReasonAlgorithm, s.issuer.Key().SignRaw(t, header, mustJSON(t, s.issuer.Claims(nil))))
	})
}

func TestKeysNamedByTheTokenAreNeverUsedOrFetched(t *testing.T) {
	t.Parallel()
	var outbound atomic.Int64
	attacker := tokentest.NewKey(t, "key-1", "ES256")
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		outbound.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(mustJSON(t, map[string]any{"keys": []any{attacker.JWK()}}))
	}))
	defer trap.Close()
	s := newSetup(t)
	for name, header := range map[string]map[string]any{
		"jku": {"jku": trap.URL}, "x5u": {"x5u": trap.URL}, "jwk": {"jwk": attacker.JWK()},
		"x5c": {"x5c": []string{"MIIB"}}, "jku and own kid": {"jku": trap.URL, "kid": "attacker"},
	} {
		t.Run(name, func(t *testing.T) {
			compact := attacker.Sign(t, header, s.issuer.Claims(nil))
			_, err := s.verify(compact)
			require.Contains(t, []string{token.ReasonSignature, token.ReasonKeyUnknown}, token.ReasonOf(err))
			if header["kid"] == nil {
				s.accepts(t, s.issuer.MintWith(t, header, nil)) // harmless on a true token
			}
		})
	}
	require.Zero(t, outbound.Load())
}

func TestKeyIDs(t *testing.T) {
	t.Parallel()
	for name, kid := range map[string]string{
		"path": "../../../../dev/null", "sql": "' UNION SELECT 'secret' --", "nul": "key-1\x00", "other": "key-2",
		"case": "KEY-1", "space": "key-1 ", "long": strings.Repeat("k", 512),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.refuses(t, token.ReasonKeyUnknown, s.issuer.MintWith(t, map[string]any{"kid": kid}, nil))
		})
	}
	t.Run("10 kB", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		s.refuses(t, token.ReasonTooLarge, s.issuer.MintWith(t, map[string]any{"kid": strings.Repeat("k", 10<<10)}, nil))
	})
	t.Run("absent with one key", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		s.accepts(t, s.issuer.MintWith(t, map[string]any{"kid": tokentest.Absent}, nil))
	})
	t.Run("absent with one key that fits", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		s.issuer.Publish(s.issuer.Key(), tokentest.NewKey(t, "other", "EdDSA"))
		s.accepts(t, s.issuer.MintWith(t, map[string]any{"kid": tokentest.Absent}, nil))
	})
	t.Run("absent with many keys", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t)
		s.issuer.Publish(s.issuer.Key(), tokentest.NewKey(t, "other", "ES256"))
		s.refuses(t, token.ReasonKeyUnknown, s.issuer.MintWith(t, map[string]any{"kid": tokentest.Absent}, nil))
	})
}

func TestForm(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	good := s.issuer.Mint(t, nil)
	parts := strings.Split(good, ".")
	jsonForm := string(mustJSON(t, map[string]any{"protected": parts[0], "payload": parts[1], "signature": parts[2]}))
	inner := segment(t, map[string]any{"alg": "ES256", "cty": "JWT", "kid": "key-1"})
	for name, c := range map[string]struct{ reason, compact string }{
		"one part":                {token.ReasonMalformed, parts[1]},
		"two parts":               {token.ReasonMalformed, parts[0] + "." + parts[1]},
		"four parts":              {token.ReasonMalformed, good + ".AAAA"},
		"five parts (JWE)":        {token.ReasonMalformed, "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d"},
		"json serialization":      {token.ReasonMalformed, jsonForm},
		"empty parts":             {token.ReasonMalformed, ".."},
		"empty header":            {token.ReasonMalformed, "." + parts[1] + "." + parts[2]},
		"padding":                 {token.ReasonMalformed, parts[0] + "." + parts[1] + "." + parts[2] + "=="},
		"padding in header":       {token.ReasonMalformed, parts[0] + "=." + parts[1] + "." + parts[2]},
		"leading space":           {token.ReasonMalformed, " " + good},
		"trailing space":          {token.ReasonMalformed, good + " "},
		"trailing newline":        {token.ReasonMalformed, good + "\n"},
		"newline within":          {token.ReasonMalformed, parts[0] + "." + parts[1][:4] + "\r\n" + parts[1][4:] + "." + parts[2]},
		"nul":                     {token.ReasonMalformed, good + "\x00"},
		"standard base64":         {token.ReasonMalformed, parts[0] + "." + parts[1] + ".++//" + parts[2][4:]},
		"unused bits set":         {token.ReasonMalformed, parts[0] + "." + parts[1] + "." + unusedBits(parts[2])},
		"a million dots":          {token.ReasonTooLarge, strings.Repeat(".", 1_000_000)},
		"16,000 dots":             {token.ReasonMalformed, strings.Repeat(".", 16_000)},
		"dots after a true token": {token.ReasonMalformed, good + strings.Repeat(".", 10_000)},
		"too large":               {token.ReasonTooLarge, strings.Repeat("A", 17<<10)},
		"nested":                  {token.ReasonType, inner + "." + parts[1] + "." + parts[2]},
		"no signature":            {token.ReasonSignature, parts[0] + "." + parts[1] + "."},
		"empty":                   {token.ReasonMissing, ""},
		"payload no json":         {token.ReasonMalformed, s.issuer.Key().SignRaw(t, []byte(`{"alg":"ES256","kid":"key-1"}`), []byte("hello"))},
		"payload a list":          {token.ReasonMalformed, s.issuer.Key().SignRaw(t, []byte(`{"alg":"ES256","kid":"key-1"}`), []byte(`[{}]`))},
		"payload null":            {token.ReasonMalformed, s.issuer.Key().SignRaw(t, []byte(`{"alg":"ES256","kid":"key-1"}`), []byte(`null`))},
		"payload empty":           {token.ReasonMalformed, s.issuer.Key().SignRaw(t, []byte(`{"alg":"ES256","kid":"key-1"}`), nil)},
		"payload then more":       {token.ReasonMalformed, s.issuer.Key().SignRaw(t, []byte(`{"alg":"ES256","kid":"key-1"}`), append(mustJSON(t, s.issuer.Claims(nil)), " {}"...))},
	} {
		t.Run(name, func(t *testing.T) {
			e := s.refuses(t, c.reason, c.compact)
			require.NotContains(t, e.Error(), parts[1])
			require.NotContains(t, e.Error(), parts[2])
		})
	}
}

// unusedBits changes the last character in bits that no byte uses: 64 bytes
// leave four of them.
func unusedBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[last|1])
}

func TestTamperedTokens(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	parts := strings.Split(s.issuer.Mint(t, nil), ".")
	changed := segment(t, s.issuer.Claims(map[string]any{"sub": "root"}))
	s.refuses(t, token.ReasonSignature, parts[0]+"."+changed+"."+parts[2])
	stranger := tokentest.NewKey(t, s.issuer.Key().ID, "ES256")
	s.refuses(t, token.ReasonSignature, stranger.Sign(t, nil, s.issuer.Claims(nil)))
}

func TestOneIssuersTokenSignedByAnothersKey(t *testing.T) {
	t.Parallel()
	second := tokentest.New(t, "ES256")
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) {
		o.Issuers = append(o.Issuers, token.Issuer{URL: second.URL, Audiences: []string{"second"}})
	})
	second.Now = s.clock.Now
	s.accepts(t, s.issuer.Mint(t, nil))
	s.accepts(t, second.Mint(t, map[string]any{"aud": "second"}))
	s.refuses(t, token.ReasonSignature, second.Mint(t, map[string]any{"iss": s.issuer.URL}))
	s.refuses(t, token.ReasonAudience, second.Mint(t, nil)) // the first one's audience
	rotated := second.Rotate(t, true)
	s.refuses(t, token.ReasonKeyUnknown, rotated.Sign(t, nil, s.issuer.Claims(nil)))
}

func segment(t testing.TB, v any) string {
	t.Helper()
	return base64.RawURLEncoding.EncodeToString(mustJSON(t, v))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return raw
}
