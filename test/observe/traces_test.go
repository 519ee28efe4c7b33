package observe_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector keeps the spans that it is sent by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var data otlp.TracesData // the wire form of an export request
		if err != nil || proto.Unmarshal(body, &data) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range data.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// trace gives a trace's spans by name.
func (c *collector) trace(id string) map[string]*otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]*otlp.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == id {
			found[s.Name] = s
		}
	}
	return found
}

// traced follows one request from its traceparent through the plugins to Prefect's run, on which the trace goes on.
func (s *scene) traced(t *testing.T) {
	const id, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	run := s.start(t, "traceparent", "00-"+id+"-"+caller+"-01")
	var spans map[string]*otlp.Span
	eventually(t, 30*time.Second, "the spans", func() bool {
		spans = s.collector.trace(id)
		return spans["prefect-trigger"] != nil && spans["prefect-identity"] != nil
	})
	below := func(name, parent string) {
		require.NotNil(t, spans[name], "%s isn't there", name)
		require.Equal(t, hex.EncodeToString(spans[parent].SpanId), hex.EncodeToString(spans[name].ParentSpanId), "%s is below %s", name, parent)
	}
	require.Equal(t, caller, hex.EncodeToString(spans["prefect-identity"].ParentSpanId))
	below("token", "prefect-identity")
	below("prefect-trigger", "prefect-identity")
	below("policy", "prefect-trigger")
	below("stamp", "prefect-trigger")
	below("prefect", "prefect-trigger")
	below("prefect: create flow run", "prefect")

	made, err := s.prefect.Run(t.Context(), run)
	require.NoError(t, err)
	require.Equal(t, "00-"+id+"-"+hex.EncodeToString(spans["prefect-trigger"].SpanId)+"-01", made.Labels["__OTEL_TRACEPARENT"])

	s.collector.mu.Lock()
	defer s.collector.mu.Unlock()
	for _, span := range s.collector.spans {
		for _, never := range append(s.secrets(), "svc-nightly", "svc-stranger") {
			require.NotContains(t, span.String(), never)
		}
	}
}
