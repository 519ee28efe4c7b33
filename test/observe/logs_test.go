package observe_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// refusedLines looks for the one line of each refusal: with its code and the request's id.
func (s *scene) refusedLines(t *testing.T) {
	require.NotContains(t, s.gateway.Logs(), "WARNING: DATA RACE")
	require.NotEmpty(t, s.refusals)
	eventually(t, 10*time.Second, "a line for each refusal", func() bool {
		logs := s.gateway.Logs()
		for id, code := range s.refusals {
			if strings.Count(logs, "refused: code="+code+" ") == 0 || strings.Count(logs, "request_id="+id) != 1 {
				return false
			}
		}
		return true
	})
}

// inKongsLog looks for what the process itself had to say, where an operator sees it at Kong's default level.
func (s *scene) inKongsLog(t *testing.T) {
	for _, message := range []string{
		"a configuration can't work; its routes refuse every request", "the issuer's keys could not be fetched", "prefect breaker changed",
	} {
		found := false
		for line := range strings.Lines(s.gateway.Logs()) {
			visible := strings.Contains(line, "[error]") || strings.Contains(line, "[warn]")
			found = found || visible && strings.Contains(line, `kong-prefect: msg="`+message+`"`)
		}
		require.True(t, found, "Kong's log doesn't say: %s", message)
	}
}

// noSecrets looks for credentials in all that was written, at level debug.
func (s *scene) noSecrets(t *testing.T) {
	own, err := os.ReadFile(s.logFile)
	require.NoError(t, err)
	require.Contains(t, string(own), `"level":"DEBUG"`)
	require.Contains(t, string(own), `"msg":"serving"`)
	for _, secret := range s.secrets() {
		require.False(t, strings.Contains(string(own), secret), "the process's log holds a secret")
		require.False(t, strings.Contains(s.gateway.Logs(), secret), "Kong's log holds a secret")
	}
}
