package vectors

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/kong-prefect/kong-prefect/token"
)

func seed(f *testing.F, add func(Case)) {
	sets, err := Sets()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range sets {
		for _, c := range s.Cases {
			add(c)
		}
	}
}

// FuzzParseToken: whatever key set and token come, nothing panics, every refusal
// has a reason, and what is accepted is accepted by two other libraries too.
func FuzzParseToken(f *testing.F) {
	seed(f, func(c Case) { f.Add(c.Keys, c.Compact) })
	f.Fuzz(func(t *testing.T, keys []byte, compact string) {
		set, _, err := token.ParseKeySet(keys)
		if err != nil {
			return
		}
		payload, err := set.VerifyJWS(compact)
		if err != nil {
			if token.ReasonOf(err) == "" {
				t.Fatalf("a refusal without a reason: %v", err)
			}
			return
		}
		if got := withGoJOSE(keys, compact); !bytes.Equal(got, payload) {
			t.Errorf("accepted here, not by go-jose: %q with %s", compact, keys)
		}
		if got := withJWX(keys, compact); !bytes.Equal(got, payload) {
			t.Errorf("accepted here, not by jwx: %q with %s", compact, keys)
		}
	})
}

func withGoJOSE(keys []byte, compact string) []byte {
	var set jose.JSONWebKeySet
	if json.Unmarshal(keys, &set) != nil {
		return nil
	}
	parsed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	})
	if err != nil {
		return nil
	}
	for _, k := range set.Keys {
		if payload, err := parsed.Verify(k.Key); err == nil {
			return append([]byte{}, payload...)
		}
	}
	return nil
}

func withJWX(keys []byte, compact string) []byte {
	set, err := jwk.Parse(keys, jwk.WithIgnoreParseError(true))
	if err != nil {
		return nil
	}
	payload, err := jws.Verify([]byte(compact), jws.WithKeySet(set,
		jws.WithRequireKid(false), jws.WithInferAlgorithmFromKey(true), jws.WithMultipleKeysPerKeyID(true)))
	if err != nil {
		return nil
	}
	return append([]byte{}, payload...)
}

// FuzzParseJWKS: no panic, and no key is let in that go-jose can't read.
func FuzzParseJWKS(f *testing.F) {
	seen := map[string]bool{}
	seed(f, func(c Case) {
		if !seen[string(c.Keys)] {
			seen[string(c.Keys)] = true
			f.Add(c.Keys)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		set, refused, err := token.ParseKeySet(data)
		if err != nil {
			return
		}
		for _, r := range refused {
			if r.Why == "" {
				t.Error("a key was refused without a reason")
			}
		}
		var doc struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("accepted, but no JSON: %v", err)
		}
		readable := 0
		for _, raw := range doc.Keys {
			var k jose.JSONWebKey
			if k.UnmarshalJSON(withoutCertificates(raw)) == nil && k.Valid() && k.IsPublic() {
				readable++
			}
		}
		if set.Len() > readable {
			t.Errorf("%d keys let in, %d readable: %s", set.Len(), readable, data)
		}
	})
}

// withoutCertificates takes out what has no say in a key here.
func withoutCertificates(raw []byte) []byte {
	var jwk map[string]any
	if json.Unmarshal(raw, &jwk) != nil {
		return raw
	}
	for name := range jwk {
		if strings.HasPrefix(strings.ToLower(name), "x5") || name == "key_ops" {
			delete(jwk, name)
		}
	}
	out, err := json.Marshal(jwk)
	if err != nil {
		return raw
	}
	return out
}

// FuzzDecodeClaims: what is accepted means the same to encoding/json; and what
// encoding/json writes, which has no name twice, is accepted.
func FuzzDecodeClaims(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"iss":"good","ISS":"evil"}`, `{"a":1,"a":2}`, `{"a":{"b":[1,2.5,1e400,-0,true,null,"x"]}}`, `{"a":"\ud800"}`,
		"{\"a\":\"\xff\"}", `{"exp":1e400}`, `{"a":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}`, `{} {}`, `[]`, `null`, `{"\u0061":1,"a":2}`,
	} {
		f.Add([]byte(s))
	}
	seed(f, func(c Case) { f.Add(c.Keys) })
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, err := token.DecodeClaims(data)
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var theirs map[string]any
		otherErr := dec.Decode(&theirs)
		if err == nil {
			if otherErr != nil || !reflect.DeepEqual(ours, theirs) {
				t.Fatalf("accepted as %v, encoding/json says %v, %v: %q", ours, theirs, otherErr, data)
			}
			return
		}
		if otherErr != nil || theirs == nil || len(data) > 10_000 || depth(theirs) > 15 {
			return
		}
		clean, marshalErr := json.Marshal(theirs)
		if marshalErr != nil {
			t.Fatal(marshalErr)
		}
		if _, err := token.DecodeClaims(clean); err != nil {
			t.Fatalf("refused although clean: %v: %q", err, clean)
		}
	})
}

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, depth(e))
		}
	case []any:
		for _, e := range v {
			deepest = max(deepest, depth(e))
		}
	default:
		return 0
	}
	return deepest + 1
}
