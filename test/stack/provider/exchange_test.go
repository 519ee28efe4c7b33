package provider_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServiceActsForAPerson(t *testing.T) {
	t.Parallel()
	p := start(t)
	person, err := p.PersonToken(t.Context(), "alice")
	require.NoError(t, err)
	token, err := p.DelegatedToken(t.Context(), "svc-nightly", person.AccessToken, "reports")
	require.NoError(t, err)
	claims := verified(t, p, "kong-prefect", token)
	require.Equal(t, "7f1c", claims["sub"])
	require.Equal(t, "svc-nightly", claims["client_id"])
	require.Equal(t, map[string]any{"sub": "svc-nightly"}, claims["act"])
	require.Equal(t, "reports", claims["scope"])
	require.Equal(t, "alice", claims["preferred_username"])

	further, err := p.DelegatedToken(t.Context(), "svc-elsewhere", token)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"sub": "svc-elsewhere", "act": map[string]any{"sub": "svc-nightly"}},
		verified(t, p, "kong-prefect", further)["act"], "the nearest actor outside")

	own, err := p.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
	_, err = p.DelegatedToken(t.Context(), "svc-nightly", own)
	require.ErrorContains(t, err, "not a person's")
}
