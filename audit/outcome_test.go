package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

// states is a Prefect whose runs end when told.
type states struct {
	mu   sync.Mutex
	runs map[string]audit.RunState
	down bool

	watched map[string]func()
}

// Watch keeps ended for the test to call.
func (s *states) Watch(server, id string, ended func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || server != "http://prefect" {
		return errors.New("away")
	}
	if s.watched == nil {
		s.watched = map[string]func(){}
	}
	s.watched[id] = ended
	return nil
}

// tell gives a hint of a run that is watched.
func (s *states) tell(id string) bool {
	s.mu.Lock()
	ended := s.watched[id]
	delete(s.watched, id)
	s.mu.Unlock()
	if ended != nil {
		ended()
	}
	return ended != nil
}

func (s *states) set(id string, state audit.RunState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[id] = state
}

func (s *states) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *states) RunStates(_ context.Context, server string, ids []string) (map[string]audit.RunState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || server != "http://prefect" {
		return nil, errors.New("away")
	}
	found := map[string]audit.RunState{}
	for _, id := range ids {
		if state, ok := s.runs[id]; ok {
			found[id] = state
		}
	}
	return found, nil
}

// RunOf knows the runs by keys that are "key-" and their id.
func (s *states) RunOf(_ context.Context, _, _, key string) (runID, requestID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return "", "", errors.New("away")
	}
	id := strings.TrimPrefix(key, "key-")
	if _, ok := s.runs[id]; !ok {
		return "", "", nil
	}
	return id, "request-" + id, nil
}

func follow(t *testing.T, log *audit.Log, s *states) (stop func()) {
	t.Helper()
	return followPolling(t, log, s, 5*time.Millisecond)
}

func followPolling(t *testing.T, log *audit.Log, s *states, pollEvery time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- log.FollowOutcomes(ctx, s, audit.OutcomeOptions{Every: 5 * time.Millisecond, PollEvery: pollEvery, Settle: time.Millisecond})
	}()
	return func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

func outcomes(t *testing.T, dir string) map[string][]string {
	all := map[string][]string{}
	for _, r := range records(t, dir) {
		if r.Type == audit.RunFinished {
			all[r.RunID] = append(all[r.RunID], r.Outcome)
		}
	}
	return all
}

func created(id string) audit.Event {
	e := event(1)
	e.Type, e.RunID, e.Prefect = audit.RunCreated, id, "http://prefect"
	return e
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	s := &states{runs: map[string]audit.RunState{"later": {Type: "RUNNING"}, "before": {Type: "FAILED", Final: true}}}

	log := open(t, audit.Options{Dir: dir, Signer: k})
	require.NoError(t, log.Append(t.Context(), created("before"), true))
	stop := follow(t, log, s)
	require.NoError(t, log.Append(t.Context(), created("later"), true))
	require.NoError(t, log.Append(t.Context(), created("deleted"), true))
	require.Eventually(t, func() bool { return len(outcomes(t, dir)) == 2 }, 10*time.Second, 5*time.Millisecond)
	stop()
	require.NoError(t, log.Close())
	require.Equal(t, map[string][]string{"before": {"FAILED"}, "deleted": {audit.OutcomeGone}}, outcomes(t, dir))

	// What ends while nobody looks is caught up, once, also after Prefect was
	// away.
	s.set("later", audit.RunState{Type: "COMPLETED", Final: true, At: time.Unix(0, 0)})
	s.setDown(true)
	log = open(t, audit.Options{Dir: dir, Signer: k})
	stop = follow(t, log, s)
	s.setDown(false)
	require.Eventually(t, func() bool { return len(outcomes(t, dir)) == 3 }, 10*time.Second, 5*time.Millisecond)
	stop()
	require.NoError(t, log.Close())
	require.Equal(t, map[string][]string{"before": {"FAILED"}, "deleted": {audit.OutcomeGone}, "later": {"COMPLETED"}}, outcomes(t, dir))
	for _, r := range records(t, dir) {
		if r.Type == audit.RunFinished {
			require.Equal(t, "svc-nightly", r.Caller.Name, "the outcome stands under the identity that asked")
		}
	}
	require.Empty(t, verify(t, dir, k).Defects)
}

// A hint is enough to hear of an end, and never enough to believe it: the
// server itself says how the run stands.
func TestHintsAreNotBelieved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &states{runs: map[string]audit.RunState{"forged": {Type: "RUNNING"}, "true": {Type: "RUNNING"}}}
	log := open(t, audit.Options{Dir: dir, Signer: newKeys(t)})
	defer followPolling(t, log, s, time.Hour)()
	for id := range s.runs {
		require.NoError(t, log.Append(t.Context(), created(id), true))
	}
	told := func(id string) func() bool { return func() bool { return s.tell(id) } }
	require.Eventually(t, told("forged"), 10*time.Second, time.Millisecond)
	require.Eventually(t, told("forged"), 10*time.Second, time.Millisecond, "it is watched again")
	s.set("true", audit.RunState{Type: "FAILED", Final: true})
	require.Eventually(t, told("true"), 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return len(outcomes(t, dir)) == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, map[string][]string{"true": {"FAILED"}}, outcomes(t, dir))
}

// While Kong reloads, two processes are there: one writes the outcomes.
func TestOutcomesOnceForSeveralProcesses(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	s := &states{runs: map[string]audit.RunState{}}
	for i := range 30 {
		s.runs[fmt.Sprint(i)] = audit.RunState{Type: "COMPLETED", Final: true}
	}
	first, second := open(t, audit.Options{Dir: dir, Signer: k}), open(t, audit.Options{Dir: dir, Signer: k})
	stopFirst, stopSecond := follow(t, first, s), follow(t, second, s)
	for i := range 15 {
		require.NoError(t, first.Append(t.Context(), created(fmt.Sprint(i)), true))
		require.NoError(t, second.Append(t.Context(), created(fmt.Sprint(i+15)), true))
	}
	require.Eventually(t, func() bool { return len(outcomes(t, dir)) == 30 }, 10*time.Second, 5*time.Millisecond)
	stopFirst()
	stopSecond()
	for id, all := range outcomes(t, dir) {
		require.Len(t, all, 1, id)
	}
}

// A process that is killed behind its request to Prefect leaves an allowed
// request without a result.
func TestRequestsWithoutAResultAreSettled(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	s := &states{runs: map[string]audit.RunState{"killed": {Type: "COMPLETED", Final: true}, "lost": {Type: "FAILED", Final: true}}}
	log := open(t, audit.Options{Dir: dir, Signer: k})
	step := func(kind audit.Type, id string) {
		e := created(id)
		e.Type, e.RequestID, e.IdempotencyKey = kind, "request-"+id, "key-"+id
		if kind != audit.RunCreated {
			e.RunID = ""
		}
		require.NoError(t, log.Append(t.Context(), e, true))
	}
	step(audit.AccessAllowed, "killed")
	step(audit.AccessAllowed, "never")
	step(audit.AccessAllowed, "refused")
	step(audit.AccessRefused, "refused")
	step(audit.AccessAllowed, "lost")
	step(audit.RunUnknown, "lost")
	step(audit.AccessRefused, "lost")
	again := created("lost") // asked for again, and nobody saw the answer
	again.Type, again.RunID, again.RequestID, again.IdempotencyKey = audit.AccessAllowed, "", "request-again", "key-lost"
	require.NoError(t, log.Append(t.Context(), again, true))
	defer follow(t, log, s)()

	require.Eventually(t, func() bool { return len(outcomes(t, dir)) == 2 }, 10*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(records(t, dir), func(r audit.Record) bool { return r.Type == audit.RunRepeated })
	}, 10*time.Second, 5*time.Millisecond)
	results := map[string][]audit.Type{}
	for _, r := range records(t, dir) {
		if r.Type == audit.RunCreated || r.Type == audit.RunAbsent || r.Type == audit.RunRepeated {
			results[r.RequestID] = append(results[r.RequestID], r.Type)
		}
	}
	require.Equal(t, map[string][]audit.Type{
		"request-killed": {audit.RunCreated}, "request-lost": {audit.RunCreated}, "request-never": {audit.RunAbsent},
		"request-again": {audit.RunRepeated},
	}, results)
	require.Equal(t, map[string][]string{"killed": {"COMPLETED"}, "lost": {"FAILED"}}, outcomes(t, dir))
}

// An accepted request gets its result from who delivers it, however long that
// takes: its run isn't looked for meanwhile.
func TestAcceptedRequestsAreNotLookedFor(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	s := &states{runs: map[string]audit.RunState{"run": {Type: "COMPLETED", Final: true}}}
	log := open(t, audit.Options{Dir: dir, Signer: k})
	add := func(kind audit.Type, request, run string) {
		e := created(run)
		e.Type, e.RequestID, e.IdempotencyKey = kind, request, "key-"+request
		require.NoError(t, log.Append(t.Context(), e, true))
	}
	for _, request := range []string{"accepted", "dead", "lost"} {
		add(audit.AccessAllowed, request, "")
	}
	add(audit.RunAccepted, "accepted", "")
	add(audit.RunAccepted, "dead", "")
	add(audit.RunDead, "dead", "")
	stop := follow(t, log, s)
	has := func(q audit.Query) bool {
		found, err := log.Has(q)
		require.NoError(t, err)
		return found
	}
	require.Eventually(t, func() bool { return has(audit.Query{Types: []audit.Type{audit.RunAbsent}, RequestID: "lost"}) }, 10*time.Second, 5*time.Millisecond)
	add(audit.RunCreated, "accepted", "run")
	require.Eventually(t, func() bool { return len(outcomes(t, dir)) == 1 }, 10*time.Second, 5*time.Millisecond)
	stop()
	require.False(t, has(audit.Query{Types: []audit.Type{audit.RunAbsent}, RequestID: "accepted"}))
	require.False(t, has(audit.Query{Types: []audit.Type{audit.RunAbsent}, RequestID: "dead"}))
	require.NoError(t, log.Close())
}
