package token_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
)

func TestAuthorizationHeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []string
		token  string
		reason string
	}{
		"bearer":                 {[]string{"Bearer abc.def.ghi"}, "abc.def.ghi", ""},
		"lower case":             {[]string{"bearer abc"}, "abc", ""},
		"upper case":             {[]string{"BEARER abc"}, "abc", ""},
		"padding":                {[]string{"Bearer abc=="}, "abc==", ""},
		"none":                   {nil, "", token.ReasonMissing},
		"empty":                  {[]string{""}, "", token.ReasonMissing},
		"basic":                  {[]string{"Basic dXNlcjpwYXNz"}, "", token.ReasonMissing},
		"another scheme":         {[]string{"Negotiate abc"}, "", token.ReasonMissing},
		"dpop":                   {[]string{"DPoP abc"}, "abc", ""},
		"dpop and bearer":        {[]string{"DPoP a", "Bearer a"}, "", token.ReasonDuplicate},
		"dpop, tab":              {[]string{"DPoP\tabc"}, "", token.ReasonUnreadable},
		"two headers":            {[]string{"Bearer a", "Bearer a"}, "", token.ReasonDuplicate},
		"two, one basic":         {[]string{"Basic a", "Bearer a"}, "", token.ReasonDuplicate},
		"comma-joined":           {[]string{"Bearer a, Bearer b"}, "", token.ReasonUnreadable},
		"comma-joined, tight":    {[]string{"Bearer a,Bearer b"}, "", token.ReasonUnreadable},
		"tab":                    {[]string{"Bearer\tabc"}, "", token.ReasonUnreadable},
		"two spaces":             {[]string{"Bearer  abc"}, "", token.ReasonUnreadable},
		"leading space":          {[]string{" Bearer abc"}, "", token.ReasonMissing},
		"leading tab":            {[]string{"\tBearer abc"}, "", token.ReasonUnreadable},
		"trailing space":         {[]string{"Bearer abc "}, "", token.ReasonUnreadable},
		"no token":               {[]string{"Bearer"}, "", token.ReasonUnreadable},
		"no token, space":        {[]string{"Bearer "}, "", token.ReasonUnreadable},
		"only padding":           {[]string{"Bearer ="}, "", token.ReasonUnreadable},
		"padding within":         {[]string{"Bearer a=b"}, "", token.ReasonUnreadable},
		"quoted":                 {[]string{`Bearer "abc"`}, "", token.ReasonUnreadable},
		"non-ascii":              {[]string{"Bearer abcä"}, "", token.ReasonUnreadable},
		"nul":                    {[]string{"Bearer abc\x00"}, "", token.ReasonUnreadable},
		"line break":             {[]string{"Bearer abc\r\nX: y"}, "", token.ReasonUnreadable},
		"scheme with other name": {[]string{"BearerToken abc"}, "", token.ReasonUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := token.Locator{}.Find(map[string][]string{"authorization": c.values})
			require.Equal(t, c.token, got.Token)
			require.Equal(t, c.token != "" && strings.HasPrefix(c.values[0], "DPoP"), got.DPoP)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			requireReason(t, c.reason, err)
		})
	}
}

func TestLocator(t *testing.T) {
	t.Parallel()
	plain := token.Locator{}
	both := token.Locator{Cookie: "session", Header: "X-Access-Token"}
	type headers = map[string][]string
	for name, c := range map[string]struct {
		locator token.Locator
		headers headers
		want    token.Located
		reason  string
	}{
		"authorization":               {plain, headers{"authorization": {"Bearer a"}}, token.Located{Token: "a", Source: "authorization"}, ""},
		"dpop scheme":                 {plain, headers{"authorization": {"dpop a"}}, token.Located{Token: "a", DPoP: true, Source: "authorization"}, ""},
		"cookie not configured":       {plain, headers{"cookie": {"session=a"}}, token.Located{}, token.ReasonMissing},
		"header not configured":       {plain, headers{"x-access-token": {"a"}}, token.Located{}, token.ReasonMissing},
		"cookie":                      {both, headers{"cookie": {"x=1; session=a; y=2"}}, token.Located{Token: "a", Source: "cookie"}, ""},
		"cookie quoted":               {both, headers{"cookie": {`session="a"`}}, token.Located{Token: "a", Source: "cookie"}, ""},
		"cookie beside basic":         {both, headers{"authorization": {"Basic x"}, "cookie": {"session=a"}}, token.Located{Token: "a", Source: "cookie"}, ""},
		"header":                      {both, headers{"x-access-token": {"a"}}, token.Located{Token: "a", Source: "x-access-token"}, ""},
		"header with bearer":          {both, headers{"x-access-token": {"Bearer a"}}, token.Located{Token: "a", Source: "x-access-token"}, ""},
		"cleared cookie":              {both, headers{"authorization": {"Bearer a"}, "cookie": {"session="}}, token.Located{Token: "a", Source: "authorization"}, ""},
		"cookie of another case":      {both, headers{"cookie": {"SESSION=a"}}, token.Located{}, token.ReasonMissing},
		"underscore spelling":         {both, headers{"x_access_token": {"a"}}, token.Located{}, token.ReasonMissing},
		"two places":                  {both, headers{"authorization": {"Bearer a"}, "cookie": {"session=b"}}, token.Located{}, token.ReasonDuplicate},
		"the same token in two":       {both, headers{"authorization": {"Bearer a"}, "x-access-token": {"a"}}, token.Located{}, token.ReasonDuplicate},
		"two cookies":                 {both, headers{"cookie": {"session=a; session=b"}}, token.Located{}, token.ReasonDuplicate},
		"two cookie headers":          {both, headers{"cookie": {"session=a", "session=b"}}, token.Located{}, token.ReasonDuplicate},
		"two named headers":           {both, headers{"x-access-token": {"a", "b"}}, token.Located{}, token.ReasonDuplicate},
		"malformed named header":      {both, headers{"x-access-token": {"a b c"}}, token.Located{}, token.ReasonUnreadable},
		"malformed cookie":            {both, headers{"cookie": {"session=a,b"}}, token.Located{}, token.ReasonUnreadable},
		"malformed authorization":     {both, headers{"authorization": {"Bearer a b"}, "cookie": {"session=b"}}, token.Located{}, token.ReasonUnreadable},
		"duplicate beside the cookie": {both, headers{"authorization": {"Bearer a", "Basic b"}, "cookie": {"session=b"}}, token.Located{}, token.ReasonDuplicate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.locator.Find(c.headers)
			require.Equal(t, c.want, got)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			requireReason(t, c.reason, err)
		})
	}
}
