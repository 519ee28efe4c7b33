package plugin

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/signing"
)

// What can't be put on record isn't done.
func TestWhatIsNotOnRecordIsNotDone(t *testing.T) {
	t.Parallel()
	keys, err := signing.Fleeting()
	require.NoError(t, err)
	closed, err := audit.Open(audit.Options{Dir: t.TempDir(), Signer: keys})
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, c := range map[string]struct {
		log    *audit.Log
		config AuditConfig
	}{
		"the process has no audit":   {nil, AuditConfig{Required: true, Durable: true}},
		"it can't be written":        {closed, AuditConfig{Durable: true}},
		"it can't be written, later": {closed, AuditConfig{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTriggerRig(t, watched)
			run := r.started(ask{})
			requests := len(r.server.Requests())
			for _, a := range []ask{{body: emea}, {method: http.MethodDelete, path: run.Links.Status}} {
				o := r.order(a)
				ctx := context.WithValue(t.Context(), trailKey{}, &trail{log: c.log, began: time.Now()})
				trailOf(ctx).caller(o, c.config)
				_, problem := r.serve(ctx, o)
				require.NotNil(t, problem, a.method)
				require.Equal(t, CodeAuditUnavailable, problem.Code, a.method)
				require.Equal(t, http.StatusServiceUnavailable, problem.Answer("r").Status)
			}
			for _, request := range r.server.Requests()[requests:] {
				require.Equal(t, http.MethodGet, request.Method, "%s: Prefect is asked for nothing that changes it", request.Path)
			}
		})
	}
}
