package audit_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

// collector is where the audit's records go as well: it takes every second batch only.
type collector struct {
	server *httptest.Server

	mu      sync.Mutex
	batches int
	got     []uint64
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.server.Close)
	return c
}

// settings is a file for --audit-sinks: the collector, and one that nobody ever hears.
func (c *collector) settings(t *testing.T, dir string) string {
	path := filepath.Join(dir, "sinks.yml")
	require.NoError(t, os.WriteFile(path, []byte(`sinks:
- {name: collector, type: http, url: "`+c.server.URL+`"}
- {name: dead, type: syslog, network: tcp, address: "127.0.0.1:1", format: cef}
`), 0o600))
	return path
}

func (c *collector) take(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches++
	if c.batches%2 == 1 {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	var events []struct{ Data audit.Record }
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range events {
		c.got = append(c.got, e.Data.Seq)
	}
}

// await waits until it has every record, and requires that they came in order: a process that is killed may send its
// last batch again, and nothing else comes twice.
func (c *collector) await(t *testing.T, log []audit.Record) {
	last := log[len(log)-1].Seq
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Contains(c.got, last)
	}, 2*time.Minute, 200*time.Millisecond, "a record did not get there")
	c.mu.Lock()
	defer c.mu.Unlock()
	highest := uint64(0)
	for _, seq := range c.got {
		require.LessOrEqual(t, seq, highest+1, "record %d came before one that was left out", seq)
		highest = max(highest, seq)
	}
}
