package operator

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/replay"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

// TestReplayComesTrue sends the same requests to a gateway of now and to one with the configuration to come. What replay
// foretold of the first one's audit is what the second one does.
func TestReplayComesTrue(t *testing.T) {
	s := parts(t)
	now, err := s.write("testdata/replay.yml", map[string]any{"PrefectURL": s.prefect.URL(), "New": false})
	require.NoError(t, err)
	next, err := s.write("testdata/replay.yml", map[string]any{"PrefectURL": s.prefect.URL(), "New": true})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "audit")
	gateways := map[bool]*stack.Gateway{}
	for isNext, config := range map[bool]string{false: now, true: next} {
		folder := dir
		if isNext {
			folder += "-next"
		}
		gateways[isNext], err = s.startGateway(t.Context(), config, "--audit", folder)
		require.NoError(t, err)
		defer gateways[isNext].Stop()
	}
	tokens := tokens(t, s)
	type key struct{ caller, path string }
	did := map[bool]map[key]bool{false: {}, true: {}}
	subject := map[string]string{"alice": "5d1a7c1e-alice", "bob": "83b0f2aa-bob"}
	for _, account := range []string{"svc-nightly", "svc-second", "svc-stranger", "alice", "bob"} {
		for _, path := range []string{"/run/report", "/run/mailed", "/run/same/emea", "/api/flow_runs/filter"} {
			body := emea
			if strings.HasPrefix(path, "/run/same") || strings.HasPrefix(path, "/api") {
				body = "{}"
			}
			for isNext, g := range gateways {
				got := s.sentTo(t, g.URL(), recorded{method: "POST", path: path, token: tokens[account], body: body})
				who := subject[account]
				if who == "" {
					who = account
				}
				did[isNext][key{who, path}] = got.code() == ""
				require.Contains(t, []int{200, 201, 403}, got.status, "%s at %s: %s", account, path, got.body)
			}
		}
	}
	require.Eventually(t, func() bool { // refusals are written soon, not at once
		n := 0
		err := audit.Find(dir, audit.Query{Types: []audit.Type{audit.AccessAllowed, audit.AccessRefused}}, func(audit.Record) bool {
			n++
			return true
		})
		return err == nil && n == len(did[false])
	}, 20*time.Second, 100*time.Millisecond)
	foretold := func(args ...string) (o replay.Outcome) {
		out, errs, code := s.tool(t, "", append([]string{"replay", dir, "--policy", next, "--json"}, args...)...)
		require.Equal(t, 1, code, errs)
		require.NoError(t, json.Unmarshal([]byte(out), &o), out)
		return o
	}
	o := foretold()
	records, _, _ := s.tool(t, "", "audit", "query", dir)
	require.Equal(t, 20, o.Decisions, records)
	require.Zero(t, o.Skipped)
	changed := map[replay.Effect]map[string]bool{}
	for _, c := range o.Changes {
		if changed[c.Effect] == nil {
			changed[c.Effect] = map[string]bool{}
		}
		changed[c.Effect][fmt.Sprintf("%s %s", c.Subject, c.What)] = true
		require.Equal(t, 1, c.Times, "%+v", c)
		require.Equal(t, s.idp.Issuer(), c.Issuer)
	}
	told := func(effect replay.Effect) (n int) { return o.Counts[effect] }
	require.Equal(t, 5, told(replay.Undecidable), "what depends on an address: %+v", o.Changes)
	lost, gained := 0, 0
	for k, before := range did[false] {
		after := did[true][k]
		what := "report/prod"
		if strings.HasPrefix(k.path, "/api") {
			what = "see_flow_runs"
		}
		name := k.caller + " " + what
		switch {
		case k.path == "/run/mailed": // undecidable, whatever it was
		case before && !after:
			lost++
			require.True(t, changed[replay.Loses][name], "%s at %s: %+v", k.caller, k.path, o.Changes)
		case !before && after:
			gained++
			if what == "see_flow_runs" {
				require.True(t, changed[replay.Gains][name], "%s at %s: %+v", k.caller, k.path, o.Changes)
			}
		}
	}
	require.Equal(t, lost, told(replay.Loses))
	require.Equal(t, gained, told(replay.Gains))
	require.Equal(t, 1, told(replay.Other), "alice starts another deployment at /run/same")
	require.Positive(t, lost)
	require.Positive(t, gained)
	for _, c := range o.Changes {
		require.NotContains(t, c.What+c.WouldBe, "emea", "no parameter is on record")
	}

	same, errs, code := s.tool(t, "", "replay", dir, "--policy", now)
	require.Equal(t, 0, code, "%s%s", same, errs)
	require.Contains(t, same, "5 undecidable")
	same, errs, code = s.tool(t, "", "replay", dir, "--policy", now, "--was", now)
	require.Equal(t, 0, code, errs)
	require.Contains(t, same, "20 unchanged")
	text, _, _ := s.tool(t, "", "replay", dir, "--policy", next, "--was", now)
	t.Log("\n" + text)

	files, err := filepath.Glob(dir + "/*.jsonl")
	require.NoError(t, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(data), "emea", "a path's parameter is in no record")
		require.Contains(t, string(data), `"path":"/run/same/{region}"`)
	}
}
