package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// keyed is a request with an Idempotency-Key.
func keyed(token, key string) request {
	return request{path: idleRoute, body: customer, token: token, headers: http.Header{"Idempotency-Key": {key}}}
}

func TestRepeatGivesTheSameRun(t *testing.T) {
	t.Parallel()
	r := keyed(serviceToken(t, "svc-nightly"), uuid.NewString())
	first := requireRun(t, send(t, r), http.StatusCreated)
	again := requireRun(t, send(t, r), http.StatusOK)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.Name, again.Name)
}

func TestRepeatWithANewTokenGivesTheSameRun(t *testing.T) {
	t.Parallel()
	key := uuid.NewString()
	first := requireRun(t, send(t, keyed(serviceToken(t, "svc-nightly"), key)), http.StatusCreated)
	again := requireRun(t, send(t, keyed(serviceToken(t, "svc-nightly"), key)), http.StatusOK)
	require.Equal(t, first.ID, again.ID)
}

func TestRepeatWithAnotherBodyIsRefused(t *testing.T) {
	t.Parallel()
	r := keyed(serviceToken(t, "svc-nightly"), uuid.NewString())
	requireRun(t, send(t, r), http.StatusCreated)
	r.body = `{"customer_id": 43}`
	requireRefused(t, send(t, r), http.StatusUnprocessableEntity, "idempotency_key_reused")
	r.body = customer
	requireRun(t, send(t, r), http.StatusOK)
}

// Prefect's keys are shared by all who know the one password: ours are not.
func TestKeysOfTwoCallersAreTwo(t *testing.T) {
	t.Parallel()
	key := uuid.NewString()
	first := requireRun(t, send(t, keyed(serviceToken(t, "svc-nightly"), key)), http.StatusCreated)
	second := requireRun(t, send(t, keyed(serviceToken(t, "svc-second"), key)), http.StatusCreated)
	require.NotEqual(t, first.ID, second.ID)
	require.Equal(t, "svc-second", stored(t, second.ID).CreatedBy.DisplayValue)
}

func TestWithoutAKeyEveryRequestIsARun(t *testing.T) {
	t.Parallel()
	r := request{path: idleRoute, body: customer, token: serviceToken(t, "svc-nightly")}
	first := requireRun(t, send(t, r), http.StatusCreated)
	second := requireRun(t, send(t, r), http.StatusCreated)
	require.NotEqual(t, first.ID, second.ID)
}

func TestRepeatsAtOnceGiveOneRun(t *testing.T) {
	t.Parallel()
	r := keyed(serviceToken(t, "svc-nightly"), uuid.NewString())
	responses := make([]response, 4)
	var group sync.WaitGroup
	for i := range responses {
		group.Go(func() { responses[i] = sendPatiently(t, r) })
	}
	group.Wait()
	created, ids := 0, map[string]bool{}
	for _, r := range responses {
		run := requireRun(t, r, r.status)
		ids[run.ID] = true
		if run.Created {
			created++
		}
	}
	require.Len(t, ids, 1)
	require.LessOrEqual(t, created, 1)
}

// sendPatiently does what a 503 asks for: the same request again, with the same key. Prefect on SQLite answers most of
// several creates at once with "database is locked", more often than the gateway's own retries outlast.
func sendPatiently(t *testing.T, r request) response {
	t.Helper()
	for range 10 {
		answer := send(t, r)
		if answer.status != http.StatusServiceUnavailable {
			return answer
		}
		seconds, err := strconv.Atoi(answer.header.Get("Retry-After"))
		if err != nil {
			return answer // not told to wait
		}
		time.Sleep(time.Duration(seconds) * time.Second)
	}
	return send(t, r)
}

func TestUnfitKeysAreRefused(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	for name, key := range map[string]string{"too long": strings.Repeat("k", 300), "white space": "a b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRefused(t, send(t, keyed(token, key)), http.StatusBadRequest, "idempotency_key_invalid")
		})
	}
}
