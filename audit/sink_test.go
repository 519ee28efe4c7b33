package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kong-prefect/kong-prefect/audit"
)

// collector is a sink that is away at first.
type collector struct {
	mu   sync.Mutex
	fail int
	seqs []uint64
}

func (c *collector) Send(_ context.Context, records []audit.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail > 0 {
		c.fail--
		return errors.New("away")
	}
	for _, r := range records {
		c.seqs = append(c.seqs, r.Seq)
	}
	return nil
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seqs)
}

func deliver(t *testing.T, dir string, sink audit.Sink) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- audit.Deliver(ctx, dir, "siem", sink, slog.New(slog.DiscardHandler)) }()
	return func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

func TestSinkGetsEveryRecordInOrder(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 4 << 10})
	c := &collector{fail: 1}
	stop := deliver(t, dir, c)
	for i := range 30 {
		require.NoError(t, log.Append(t.Context(), event(i), true))
	}
	require.Eventually(t, func() bool { return c.count() >= 31 }, 10*time.Second, 5*time.Millisecond)
	stop()
	for i := range 10 { // while no process delivers
		require.NoError(t, log.Append(t.Context(), event(i), true))
	}
	require.NoError(t, log.Close())
	total := len(records(t, dir))
	stop = deliver(t, dir, c)
	require.Eventually(t, func() bool { return c.count() >= total }, 10*time.Second, 5*time.Millisecond)
	stop()
	require.Len(t, c.seqs, total)
	for i, seq := range c.seqs {
		require.Equal(t, uint64(i+1), seq)
	}
}

func TestSinkThatWasStoppedInTheMiddleGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := open(t, audit.Options{Dir: dir, Signer: newKeys(t)})
	require.NoError(t, log.Append(t.Context(), event(1), true))
	c := &collector{fail: 1 << 30}
	deliver(t, dir, c)() // ends though the sink is away
	require.Zero(t, c.count())
}

func sample() []audit.Record {
	e := event(1)
	e.Type, e.Time, e.Reason, e.SourceAddress, e.RunID = audit.AccessRefused, noon, "role_not_allowed", "192.0.2.7", "run-1"
	e.Caller.Name = "a|b=c\\d\nCEF:0|forged"
	return []audit.Record{{Seq: 7, Prev: "ab", Event: e}}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	cef, err := audit.Formats["cef"](sample()[0])
	require.NoError(t, err)
	require.Contains(t, string(cef), "CEF:0|kong-prefect|kong-prefect|1|access.refused|access.refused: role_not_allowed|5|")
	require.Contains(t, string(cef), `suser=a|b\=c\\d\nCEF:0|forged`)
	require.NotContains(t, string(cef), "\n", "a name can't begin a line of its own")

	var event map[string]any
	ocsf, err := audit.Formats["ocsf"](sample()[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(ocsf, &event))
	require.EqualValues(t, 6003, event["class_uid"])
	require.EqualValues(t, 600399, event["type_uid"])
	require.EqualValues(t, 2, event["status_id"])
	require.Equal(t, map[string]any{"ip": "192.0.2.7"}, event["src_endpoint"])

	var lines bytes.Buffer
	require.NoError(t, audit.WriterSink{Writer: &lines, Format: audit.Formats["json"]}.Send(t.Context(), sample()))
	var r audit.Record
	require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
	require.Equal(t, sample()[0].Reason, r.Reason)
}

func TestHTTPSinks(t *testing.T) {
	t.Parallel()
	type request struct {
		contentType, authorization string
		body                       []byte
	}
	got := make(chan request, 1)
	status := http.StatusAccepted
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Header.Get("Content-Type"), r.Header.Get("Authorization"), body}
		w.WriteHeader(status)
	}))
	defer server.Close()
	authorization := filepath.Join(t.TempDir(), "authorization")
	require.NoError(t, os.WriteFile(authorization, []byte("Bearer collector-token\n"), 0o600))

	events := &audit.HTTPSink{URL: server.URL, AuthorizationFile: authorization}
	require.NoError(t, events.Send(t.Context(), sample()))
	r := <-got
	require.Equal(t, "application/cloudevents-batch+json", r.contentType)
	require.Equal(t, "Bearer collector-token", r.authorization)
	var batch []map[string]any
	require.NoError(t, json.Unmarshal(r.body, &batch))
	require.Equal(t, "1.0", batch[0]["specversion"])
	require.Equal(t, "/7", batch[0]["id"])
	require.Equal(t, "com.github.kong-prefect.access.refused", batch[0]["type"])

	otel := &audit.OTLPSink{URL: server.URL}
	require.NoError(t, otel.Send(t.Context(), sample()))
	r = <-got
	require.Equal(t, "application/x-protobuf", r.contentType)
	var data logs.LogsData
	require.NoError(t, proto.Unmarshal(r.body, &data))
	require.Equal(t, "WARN", data.ResourceLogs[0].ScopeLogs[0].LogRecords[0].SeverityText)

	status = http.StatusInternalServerError
	require.ErrorContains(t, events.Send(t.Context(), sample()), "500")
	<-got
}

// Whoever archives what a sink hasn't had is told.
func TestSinkThatMissesRecordsSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := open(t, audit.Options{Dir: dir, Signer: newKeys(t), MaxFileBytes: 1}) // each group of records is a file
	require.NoError(t, log.Append(t.Context(), event(1), true))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sink-siem.seq"), []byte("1\n"), 0o600))
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(files[0]))
	var said bytes.Buffer
	c := &collector{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- audit.Deliver(ctx, dir, "siem", c, slog.New(slog.NewTextHandler(&said, nil))) }()
	require.Eventually(t, func() bool { return c.count() > 0 }, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Equal(t, uint64(3), c.seqs[0])
	require.Contains(t, said.String(), "records are gone")
	require.Contains(t, said.String(), "from_record=2 to_record=2")
}

func TestSyslogSink(t *testing.T) {
	t.Parallel()
	daemon, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer daemon.Close()
	sink := &audit.SyslogSink{Network: "udp", Address: daemon.LocalAddr().String(), Format: audit.Formats["cef"]}
	require.NoError(t, sink.Send(t.Context(), sample()))
	require.NoError(t, daemon.SetReadDeadline(time.Now().Add(5*time.Second)))
	packet := make([]byte, 4096)
	n, _, err := daemon.ReadFrom(packet)
	require.NoError(t, err)
	require.Contains(t, string(packet[:n]), "<84>2026-11-24T12:00:00Z ") // authpriv.warning
	require.Contains(t, string(packet[:n]), "CEF:0|kong-prefect|")
}

// What a daemon has not read is an error, though the network took it: syslog itself acknowledges nothing.
func TestSyslogSinkByStreams(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		address := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "log")}[network]
		daemon, err := net.Listen(network, address)
		require.NoError(t, err)
		defer daemon.Close()
		sink := &audit.SyslogSink{Network: network, Address: daemon.Addr().String(), Format: audit.Formats["json"]}
		serve := func(do func(net.Conn)) {
			go func() {
				if conn, err := daemon.Accept(); err == nil {
					do(conn)
				}
			}()
		}
		got := make(chan string, 1)
		serve(func(conn net.Conn) {
			data, _ := io.ReadAll(conn)
			got <- string(data)
			_ = conn.Close()
		})
		require.NoError(t, sink.Send(t.Context(), append(sample(), sample()...)))
		lines := <-got
		require.Equal(t, 2, strings.Count(lines, "\n"))
		require.Contains(t, lines, `: {"seq":7,`)

		serve(func(conn net.Conn) { // dies before it has read
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		})
		require.Error(t, sink.Send(t.Context(), sample()), network)

		hold := make(chan struct{})
		serve(func(conn net.Conn) { <-hold; _ = conn.Close() }) // reads nothing, ever
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		require.ErrorContains(t, sink.Send(ctx, sample()), "isn't known what it has read", network)
		cancel()
		close(hold)
	}
}

func TestSinkSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, yaml, says string }{
		{"all kinds", `sinks:
- {name: out, type: stdout, format: ocsf}
- {name: siem, type: syslog, network: tcp, address: "siem:601", format: cef}
- {name: bus, type: http, url: "https://events.example/in", authorization_file: /run/secrets/bus}
- {name: lake, type: http, url: "https://lake.example", format: ocsf}
- {name: otel, type: otlp, url: "http://collector:4318/v1/logs"}`, ""},
		{"an unknown field", "sinks:\n- {name: a, type: stdout, fromat: json}", "fromat"},
		{"an unknown type", "sinks:\n- {name: a, type: kafka}", "stdout, syslog, http or otlp"},
		{"an unknown format", "sinks:\n- {name: a, type: stdout, format: xml}", `"xml"`},
		{"cef over http", "sinks:\n- {name: a, type: http, url: 'http://x', format: cef}", "line of text"},
		{"no url", "sinks:\n- {name: a, type: otlp}", "url"},
		{"a bad name", "sinks:\n- {name: ../a, type: stdout}", "small letters"},
		{"a name twice", "sinks:\n- {name: a, type: stdout}\n- {name: a, type: stdout}", "another sink"},
		{"half of a syslog address", "sinks:\n- {name: a, type: syslog, network: udp}", "with an address"},
		{"no yaml", "sinks: [", "audit sinks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "sinks.yml")
			require.NoError(t, os.WriteFile(path, []byte(c.yaml), 0o600))
			sinks, err := audit.ReadSinks(path, io.Discard)
			if c.says == "" {
				require.NoError(t, err)
				require.Len(t, sinks, 5)
				return
			}
			require.ErrorIs(t, err, audit.ErrSinks)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestDocumentedSinks(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/audit.md")
	require.NoError(t, err)
	_, rest, found := bytes.Cut(page, []byte("```yaml\n"))
	require.True(t, found)
	settings, _, _ := bytes.Cut(rest, []byte("```"))
	path := filepath.Join(t.TempDir(), "sinks.yml")
	require.NoError(t, os.WriteFile(path, settings, 0o600))
	sinks, err := audit.ReadSinks(path, io.Discard)
	require.NoError(t, err)
	require.Len(t, sinks, 5)
}
