package plugin

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/stamp"
)

func TestStampConfig(t *testing.T) {
	t.Parallel()
	f, _ := reflect.TypeFor[StampConfig]().FieldByName("Write")
	var parts []string
	for _, p := range stamp.Parts {
		parts = append(parts, string(p))
	}
	require.Equal(t, "element_one_of="+strings.Join(parts, "|"), f.Tag.Get("kong"))

	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	decode := func(text string) (c TriggerConfig) {
		require.NoError(t, decodeConfig([]byte(`{"prefect":{"api_url":"http://p/api"},"deployment":"a/b","allow_roles":["r"]`+text+`}`), &c))
		return c
	}
	for _, text := range []string{``, `,"stamp":{}`, `,"stamp":null`, `,"stamp":{"write":null}`} {
		c := decode(text)
		require.Equal(t, StampConfig{Write: parts, LifetimeHours: 168}, c.Stamp, text)
	}
	_, err := p.stampOptions(decode(``).Stamp)
	require.ErrorContains(t, err, "no signing keys", "what can't be proved isn't written")
	o, err := p.stampOptions(decode(`,"stamp":{"write":["tags"],"lifetime_hours":1}`).Stamp)
	require.NoError(t, err)
	require.Equal(t, time.Hour, o.Lifetime)
	require.Equal(t, []stamp.Part{"context", "created_by", "labels", "trace_context"}, o.Omit)
}

func TestParentStampIsBelievedOnlyWhenSigned(t *testing.T) {
	t.Parallel()
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	parent, problem := p.parentOf(nil)
	require.Nil(t, problem)
	require.Nil(t, parent)
	_, problem = p.parentOf([]string{"x"})
	require.Equal(t, CodeParentStampInvalid, problem.Code)
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	p.Signing = keys
	_, problem = p.parentOf([]string{"x"})
	require.Equal(t, CodeParentStampInvalid, problem.Code)
	require.Equal(t, http.StatusBadRequest, problem.Answer("r").Status)
	assertion, err := keys.Sign(jwt.MapClaims{"iss": stamp.Issuer, "exp": time.Now().Add(time.Hour).Unix(), "version": 1}, "other+jwt")
	require.NoError(t, err)
	_, problem = p.parentOf([]string{assertion})
	require.Equal(t, CodeParentStampInvalid, problem.Code, "signed by us, but no stamp")
}
