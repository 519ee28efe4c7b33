package ownport

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReady(t *testing.T) {
	t.Parallel()
	good := Check{"keys", func() error { return nil }}
	bad := Check{"audit", func() error { return errors.New("no space left on device") }}
	for name, c := range map[string]struct {
		checks []Check
		status int
		body   string
	}{
		"nothing to check": {nil, 200, "ok\n"},
		"all is there":     {[]Check{good}, 200, "keys: ok\n"},
		"one is missing":   {[]Check{bad, good}, 503, "audit: no space left on device\nkeys: ok\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			Ready(c.checks...).ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			require.Equal(t, c.status, w.Code)
			require.Equal(t, c.body, w.Body.String())
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		})
	}
}
