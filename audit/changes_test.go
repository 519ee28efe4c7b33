package audit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

// uses is one process's life: what it has in use, in order.
func uses(t *testing.T, dir string, k keys, all ...audit.Event) {
	t.Helper()
	log := open(t, audit.Options{Dir: dir, Signer: k})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	for _, e := range all[:len(all)/2] {
		log.InUse(e) // before anybody follows
	}
	go func() { done <- log.FollowChanges(ctx) }()
	for _, e := range all[len(all)/2:] {
		log.InUse(e)
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, log.Close())
}

func changes(t *testing.T, dir string) (all []string) {
	for _, r := range records(t, dir) {
		switch r.Type {
		case audit.ConfigurationChanged, audit.PolicyChanged, audit.KeysChanged:
			all = append(all, string(r.Type)+" "+r.Object+" "+r.ConfigDigest)
		}
	}
	return all
}

func TestOnlyWhatChangedIsOnRecord(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	config := func(object, digest string) audit.Event {
		return audit.Event{Type: audit.ConfigurationChanged, Plugin: "prefect-trigger", Object: object, ConfigDigest: digest}
	}
	policy := audit.Event{Type: audit.PolicyChanged, Plugin: "prefect-trigger", Object: "a/b", ConfigDigest: "P", Rights: []audit.Right{{Who: "role runner", May: "run a/b"}}}
	uses(t, dir, k, config("a/b", "1"), config("a/b", "1"), config("c/d", "1"), policy)
	uses(t, dir, k, config("a/b", "1"), config("c/d", "1"), policy) // a restart
	require.Equal(t, []string{"configuration.changed a/b 1", "configuration.changed c/d 1", "policy.changed a/b P"}, changes(t, dir))
	uses(t, dir, k, config("a/b", "2"), policy)
	uses(t, dir, k, config("a/b", "1"), policy) // and back
	require.Equal(t, []string{"configuration.changed a/b 2", "configuration.changed a/b 1"}, changes(t, dir)[3:])
	require.Empty(t, verify(t, dir, k).Defects)
}

// A policy of thousands of lines doesn't fit a record; that it changed does.
func TestAChangeThatIsTooLong(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	long := audit.Event{Type: audit.PolicyChanged, Object: "o", ConfigDigest: "P", Time: time.Now()}
	for range 2000 {
		long.Rights = append(long.Rights, audit.Right{Who: strings.Repeat("x", 40), May: "role runner"})
	}
	uses(t, dir, k, long)
	require.Equal(t, []string{"policy.changed o P"}, changes(t, dir))
	require.Contains(t, records(t, dir)[2].Detail, "2000 rights")
}
