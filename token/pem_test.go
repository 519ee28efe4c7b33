package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestParsePEM(t *testing.T) {
	t.Parallel()
	ec := tokentest.NewKey(t, "ec", "ES256")
	ecDER, err := x509.MarshalPKIXPublicKey(ec.Private.Public())
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, ec.Private.Public(), ec.Private)
	require.NoError(t, err)
	long := tokentest.NewKey(t, "rsa", "RS256").Private.Public().(*rsa.PublicKey)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	shortDER, err := x509.MarshalPKIXPublicKey(&short.PublicKey)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(ec.Private)
	require.NoError(t, err)
	good := block("PUBLIC KEY", ecDER)
	for name, c := range map[string]struct {
		text string
		keys int // 0: refused
		says string
	}{
		"public key":                 {good, 1, ""},
		"certificate":                {block("CERTIFICATE", certificate), 1, ""},
		"PKCS 1":                     {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(long)), 1, ""},
		"two, and words around them": {"first\n" + good + "\nsecond\n" + block("CERTIFICATE", certificate) + "\n# end\n", 2, ""},
		"nothing":                    {"", 0, "no usable signature keys"},
		"words":                      {"-- none --", 0, "no usable signature keys"},
		"a private key":              {block("PRIVATE KEY", private), 0, "neither a public key nor a certificate"},
		"a private key, too":         {good + block("PRIVATE KEY", private), 0, "pem block 2"},
		"a short key":                {good + block("PUBLIC KEY", shortDER), 0, "2048"},
		"a short key in PKCS 1":      {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&short.PublicKey)), 0, "2048"},
		"no key inside":              {block("PUBLIC KEY", []byte("x")), 0, "can't be parsed"},
		"a block that is cut off":    {good + good[:60], 0, "can't be read"},
		"a block with a slip in it":  {strings.Replace(good, "\n", "\n!", 1) + good, 0, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := token.ParsePEM([]byte(c.text))
			if c.keys == 0 {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.keys, set.Len())
		})
	}
}

// Keys in PEM have no names: a token that names its key can't be told which of several it means.
func TestSeveralKeysOfOneKindInPEM(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	keys := map[string]*tokentest.Key{"first": tokentest.NewKey(t, "first", "ES256"), "second": tokentest.NewKey(t, "second", "ES256"), "third": tokentest.NewKey(t, "third", "EdDSA")}
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
		require.NoError(t, err)
		text.WriteString(block("PUBLIC KEY", der))
	}
	set, err := token.ParsePEM([]byte(text.String()))
	require.NoError(t, err)
	_, err = set.VerifyJWS(keys["third"].Sign(t, nil, map[string]any{}))
	require.NoError(t, err)
	_, err = set.VerifyJWS(keys["first"].Sign(t, nil, map[string]any{}))
	requireReason(t, token.ReasonKeyUnknown, err)
	require.ErrorContains(t, err, "jwks_file")
	_, err = set.VerifyJWS(keys["first"].Sign(t, map[string]any{"kid": tokentest.Absent}, map[string]any{}))
	requireReason(t, token.ReasonKeyUnknown, err)
	require.ErrorContains(t, err, "let the issuer add kid")
}
