package claims_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// TestPresets maps the token of each pair of files in testdata/PRESET, minted
// and verified for real, and compares what comes out. An agent is the client
// agent-planner, in all of them.
func TestPresets(t *testing.T) {
	t.Parallel()
	for _, preset := range claims.PresetNames() {
		pairs, err := filepath.Glob("testdata/" + preset + "/*.claims.json")
		require.NoError(t, err)
		require.NotEmpty(t, pairs, "preset %s has no pair of test files", preset)
		for _, path := range pairs {
			t.Run(strings.TrimSuffix(strings.TrimPrefix(path, "testdata/"), ".claims.json"), func(t *testing.T) {
				t.Parallel()
				data, err := claims.PresetOf(preset)
				require.NoError(t, err)
				checkPair(t, data, path)
			})
		}
	}
}

// TestNoPairWithoutItsPreset: a folder that is named wrongly tests nothing.
func TestNoPairWithoutItsPreset(t *testing.T) {
	t.Parallel()
	folders, err := os.ReadDir("testdata")
	require.NoError(t, err)
	for _, f := range folders {
		if f.Name() != "added" {
			require.Contains(t, claims.PresetNames(), f.Name())
		}
	}
}

// TestAddingAProviderIsDataAlone maps the tokens of a provider that the
// program has never heard of: one file, and its pair.
func TestAddingAProviderIsDataAlone(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/added/acme.yaml")
	require.NoError(t, err)
	preset, err := claims.ParsePreset(data)
	require.NoError(t, err)
	checkPair(t, preset, "testdata/added/acme.claims.json")
}

func TestPresetsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, says string }{
		"a field that doesn't exist": {"groupz: [x]", "groupz"},
		"a kind that doesn't exist":  {"kind: robot", "robot"},
		"agents are configured":      {"kind: agent", "agent"},
		"kind and signs":             {"kind: service\nservice:\n- [{claim: a, present: true}]", "exclude"},
		"a sign that always holds":   {"service:\n- []", "always"},
		"a condition with nothing":   {"service:\n- [{claim: a}]", "exactly one"},
		"a condition with two":       {"overage:\n- [{claim: a, present: true, is: b}]", "exactly one"},
		"no YAML":                    {"{", "yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := claims.ParsePreset([]byte(c.file))
			require.ErrorContains(t, err, c.says)
		})
	}
}

func checkPair(t *testing.T, preset claims.Preset, path string) {
	t.Helper()
	given := readJSON[map[string]any](t, path)
	want := readJSON[map[string]any](t, strings.TrimSuffix(path, ".claims.json")+".identity.json")
	mapper, err := claims.NewMapper(claims.Options{Data: &preset, Agents: []string{"agent-planner"}})
	require.NoError(t, err)
	id, err := mapper.Identity(verify(t, preset, given))
	if says, refused := want["error"]; refused {
		require.ErrorContains(t, err, says.(string))
		return
	}
	require.NoError(t, err)
	require.Equal(t, want["issuer"], given["iss"])
	id.Issuer, _ = given["iss"].(string)
	have, err := json.Marshal(id)
	require.NoError(t, err)
	wanted, err := json.Marshal(want)
	require.NoError(t, err)
	require.JSONEq(t, string(wanted), string(have))
}

// verify signs the claims with an issuer of this process, in its name and with
// today's times, and has them verified as the plugin would.
func verify(t *testing.T, preset claims.Preset, given map[string]any) token.Verified {
	t.Helper()
	issuer := tokentest.New(t, "ES256")
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	t.Cleanup(keys.Close)
	minted := map[string]any{}
	shift := time.Now().Unix() - 1795000000 // the files' iat
	for name, value := range given {
		if n, ok := value.(float64); ok && slices.Contains([]string{"iat", "nbf", "exp"}, name) {
			value = int64(n) + shift
		}
		minted[name] = value
	}
	minted["iss"] = issuer.URL
	verifier, err := token.NewVerifier(token.Options{Keys: keys, Issuers: []token.Issuer{{
		URL: issuer.URL, Audiences: audience(given, preset.AudienceClaim), AudienceClaim: preset.AudienceClaim,
		InsecureAcceptAnyTokenType: preset.Assertions || given["at_hash"] != nil,
	}}})
	require.NoError(t, err)
	verified, err := verifier.Verify(t.Context(), issuer.Key().Sign(t, nil, minted))
	require.NoError(t, err)
	return verified
}

func audience(given map[string]any, claim string) []string {
	if claim == "" {
		claim = "aud"
	}
	if list, ok := given[claim].([]any); ok {
		return []string{list[0].(string)}
	}
	return []string{given[claim].(string)}
}

func readJSON[T any](t *testing.T, path string) (v T) {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is missing: claims and identity are a pair", path)
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &v))
	return v
}
