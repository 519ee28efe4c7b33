package tracing

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// collector keeps what it is sent.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string]*otlp.Span // by name
	path  string
	auth  string
}

func newCollector(t *testing.T) *collector {
	c := &collector{spans: map[string]*otlp.Span{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var data otlp.TracesData
		if proto.Unmarshal(body, &data) != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.path, c.auth = r.URL.Path, r.Header.Get("Authorization")
		for _, resource := range data.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					c.spans[span.Name] = span
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00f067aa0ba902b7"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func done() plugin.Done {
	return plugin.Done{
		Plugin: plugin.TriggerName, Began: began, Took: time.Second, Started: plugin.RunCreated, RunID: "run", RequestID: "request",
		Steps: []plugin.Step{
			{Stage: plugin.StagePolicy, Began: began, Took: time.Millisecond},
			{Stage: plugin.StagePrefect, Began: began.Add(10 * time.Millisecond), Took: 500 * time.Millisecond},
		},
		Requests: []prefectclient.Sent{
			{Server: "prefect:4200", Operation: "create flow run", Status: 503, Began: began.Add(11 * time.Millisecond), Took: time.Millisecond},
		},
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("Bearer collector-token\n"), 0o600))
	tracer, err := New(t.Context(), Options{URL: c.URL, AuthorizationFile: secret, Service: "kong-prefect", Version: "1.2.3"})
	require.NoError(t, err)
	own, end := tracer.Event(plugin.TriggerName, "00-"+traceID+"-"+parent+"-01", began)
	end(done())
	unsampled, endOther := tracer.Event("unsampled", "00-"+traceID+"-"+parent+"-00", began)
	endOther(done())
	tracer.Close()

	require.Equal(t, "/v1/traces", c.path)
	require.Equal(t, "Bearer collector-token", c.auth)
	require.Len(t, c.spans, 4, "what came unsampled stays so")
	event := c.spans[plugin.TriggerName]
	require.Equal(t, traceID, hex.EncodeToString(event.TraceId))
	require.Equal(t, parent, hex.EncodeToString(event.ParentSpanId))
	require.Equal(t, "00-"+traceID+"-"+hex.EncodeToString(event.SpanId)+"-01", own)
	require.Equal(t, uint64(began.UnixNano()), event.StartTimeUnixNano)
	require.Equal(t, uint64(began.Add(time.Second).UnixNano()), event.EndTimeUnixNano)
	require.True(t, strings.HasPrefix(unsampled, "00-"+traceID+"-") && strings.HasSuffix(unsampled, "-00"), unsampled)

	policy, prefect, request := c.spans["policy"], c.spans["prefect"], c.spans["prefect: create flow run"]
	require.Equal(t, event.SpanId, policy.ParentSpanId)
	require.Equal(t, event.SpanId, prefect.ParentSpanId)
	require.Equal(t, prefect.SpanId, request.ParentSpanId)
	require.Equal(t, otlp.Status_STATUS_CODE_ERROR, request.Status.Code)
	require.NotEqual(t, otlp.Status_STATUS_CODE_ERROR, event.Status.GetCode())
}

func TestATraceBeginsHere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header string
		share  float64
		spans  int
	}{
		"no header":              {"", 1, 1},
		"not a header":           {"00-" + traceID, 1, 1},
		"two headers":            {"00-" + traceID + "-" + parent + "-01,00-" + traceID + "-" + parent + "-01", 1, 1},
		"no trace is recorded":   {"", 0, 0},
		"one that came is":       {"00-" + traceID + "-" + parent + "-01", 0, 1},
		"an event that goes bad": {"", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newCollector(t)
			tracer, err := New(t.Context(), Options{URL: to.URL, Share: c.share})
			require.NoError(t, err)
			own, end := tracer.Event("event", c.header, began)
			require.Regexp(t, `^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`, own)
			end(plugin.Done{Began: began, Reason: plugin.CodePrefectUnavailable, Status: 503})
			tracer.Close()
			require.Len(t, to.spans, c.spans)
			if c.spans == 1 {
				require.Equal(t, otlp.Status_STATUS_CODE_ERROR, to.spans["event"].Status.Code)
			}
		})
	}
}

// More events than the queue holds come and end while the collector is away, or takes a request and never answers.
func TestADeadCollectorHoldsUpNobody(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	hole := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held }))
	t.Cleanup(hole.Close)
	t.Cleanup(func() { close(held) })
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, url := range map[string]string{"away": gone.URL, "never answers": hole.URL} {
		t.Run(name, func(t *testing.T) {
			tracer, err := New(t.Context(), Options{URL: url, Share: 1})
			require.NoError(t, err)
			for range 2 * maxQueued {
				_, end := tracer.Event("event", "", began)
				end(done())
			}
			tracer.Close()
		})
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{URL: ""}, {URL: "collector:4318"}, {URL: "ftp://collector"}, {URL: "http://user:secret@collector"}, {URL: "http://collector", Share: 2}} {
		_, err := New(t.Context(), o)
		require.ErrorIs(t, err, ErrOptions)
		require.NotContains(t, err.Error(), "secret")
	}
}
