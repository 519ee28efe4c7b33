package vectors

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
)

const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

// The examples of RFC 7515 appendix A and RFC 8037 appendix A.4, as printed.
func TestExamplesOfRFC7515And8037(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ jwk, compact, payload, reason string }{
		"RFC 7515 A.1 HS256": {
			`{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + joe + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "", "symmetric",
		},
		"RFC 7515 A.2 RS256": {
			`{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`,
			"eyJhbGciOiJSUzI1NiJ9." + joe + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
			`{"iss":"joe"`, "",
		},
		"RFC 7515 A.3 ES256": {
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + joe + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
			`{"iss":"joe"`, "",
		},
		"RFC 7515 A.4 ES512": {
			`{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`,
			"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
			"Payload", "",
		},
		"RFC 7515 A.5 unsecured": {
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJub25lIn0." + joe + ".", "", token.ReasonAlgorithm,
		},
		"RFC 8037 A.4 Ed25519": {
			`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
			"Example of Ed25519 signing", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, refused, err := token.ParseKeySet([]byte(`{"keys":[` + c.jwk + `]}`))
			if c.reason == "symmetric" {
				require.Error(t, err)
				require.Contains(t, refused[0].Why, c.reason)
				return
			}
			require.NoError(t, err)
			payload, err := set.VerifyJWS(c.compact)
			if c.reason != "" {
				require.Equal(t, c.reason, token.ReasonOf(err))
				return
			}
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(payload), c.payload))
			last := c.compact[:len(c.compact)-20] + "AAAAAAAAAAAAAAAAAAAA"
			_, err = set.VerifyJWS(last)
			require.Equal(t, token.ReasonSignature, token.ReasonOf(err))
		})
	}
}

// What RFC 7515 and its kin have beside the compact form of a true signature is
// no access token: JSON serializations (appendix A.6 and A.7, with the
// signatures of A.2 and A.3), detached content (appendix F), an unknown crit
// (appendix E), and a key that is for encryption (RFC 8037 appendix A.6).
func TestOtherFormsOfRFC7515(t *testing.T) {
	t.Parallel()
	const a2 = "eyJhbGciOiJSUzI1NiJ9." + joe + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	const a3 = "eyJhbGciOiJFUzI1NiJ9." + joe + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	rs, es := strings.Split(a2, "."), strings.Split(a3, ".")
	set, _, err := token.ParseKeySet([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
	require.NoError(t, err)
	for name, c := range map[string]struct{ compact, reason string }{
		"A.6 general JSON": {`{"payload":"` + joe + `","signatures":[{"protected":"` + rs[0] + `","header":{"kid":"2010-12-29"},"signature":"` + rs[2] +
			`"},{"protected":"` + es[0] + `","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + es[2] + `"}]}`, token.ReasonMalformed},
		"A.7 flattened JSON": {`{"payload":"` + joe + `","protected":"` + es[0] + `","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + es[2] + `"}`,
			token.ReasonMalformed},
		"E unknown crit":     {"eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.", token.ReasonMalformed},
		"F detached content": {es[0] + ".." + es[2], token.ReasonSignature},
	} {
		_, err := set.VerifyJWS(c.compact)
		require.Equal(t, c.reason, token.ReasonOf(err), name)
	}
	_, err = set.VerifyJWS(a3)
	require.NoError(t, err)
	_, refused, err := token.ParseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"X25519","kid":"Bob","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}]}`))
	require.Error(t, err)
	require.Len(t, refused, 1)
}

// The signatures of RFC 7520 section 4 with the keys of its section 3, which
// name no algorithm; Wycheproof prints them with algorithms added.
func TestExamplesOfRFC7520(t *testing.T) {
	t.Parallel()
	sets, err := Sets()
	require.NoError(t, err)
	byID := map[int]Case{}
	for _, c := range sets[0].Cases {
		byID[c.ID] = c
	}
	for name, id := range map[string]int{"4.1 RS256": 345, "4.2 PS384": 346, "4.3 ES512": 347} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var doc struct {
				Keys []map[string]any `json:"keys"`
			}
			require.NoError(t, json.Unmarshal(byID[id].Keys, &doc))
			delete(doc.Keys[0], "alg")
			raw, err := json.Marshal(doc)
			require.NoError(t, err)
			set, _, err := token.ParseKeySet(raw)
			require.NoError(t, err)
			payload, err := set.VerifyJWS(byID[id].Compact)
			require.NoError(t, err)
			require.Contains(t, string(payload), "dangerous business, Frodo")
		})
	}
	t.Run("4.4 HS256", func(t *testing.T) {
		t.Parallel()
		require.True(t, byID[348].Valid)
		_, refused, err := token.ParseKeySet(byID[348].Keys)
		require.Error(t, err)
		require.Contains(t, refused[0].Why, "symmetric")
	})
}
