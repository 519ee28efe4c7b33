package ownport

import (
	"fmt"
	"net/http"
	"strings"
)

// Where the process says how it is.
const (
	HealthPath  = "GET /healthz" // it lives
	ReadyPath   = "GET /readyz"  // it can do its work
	MetricsPath = "GET /metrics"
)

// Check is one thing that the process needs for its work. Err says why it
// isn't there; it must answer at once.
type Check struct {
	Name string
	Err  func() error
}

// Health answers as long as the process does.
func Health() http.Handler { return Ready() }

// Ready answers 200 when all is there, 503 otherwise, with a line for each
// check. What lies outside the process, a provider or Prefect, is none of its
// checks: a restart would mend nothing.
func Ready(checks ...Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status, lines := http.StatusOK, strings.Builder{}
		for _, c := range checks {
			if err := c.Err(); err != nil {
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&lines, "%s: %v\n", c.Name, err)
				continue
			}
			fmt.Fprintf(&lines, "%s: ok\n", c.Name)
		}
		if len(checks) == 0 {
			lines.WriteString("ok\n")
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(lines.String()))
	})
}
