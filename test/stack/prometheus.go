package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// prometheusReadyLimit is far above what a start takes (a second).
const prometheusReadyLimit = 30 * time.Second

// Prometheus is a running Prometheus, with its data in a folder that goes with it.
type Prometheus struct {
	dir  string
	addr string
	proc *process
}

// StartPrometheus starts Debian's Prometheus with a configuration, and waits until it answers. Relative paths in the
// configuration are below dir. Without one installed the error is [ErrNotInstalled].
func StartPrometheus(ctx context.Context, config []byte, dir string) (*Prometheus, error) {
	path, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, fmt.Errorf("%w: prometheus (on Debian: apt-get install prometheus)", ErrNotInstalled)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "kong-prefect-prometheus-")
	if err != nil {
		return nil, err
	}
	p := &Prometheus{dir: home, addr: addr}
	// Beside the rules it names, so that its relative paths mean what they say.
	file := filepath.Join(dir, "prometheus-under-test.yml")
	if err = os.WriteFile(file, config, 0o600); err == nil {
		p.proc, err = command{name: "prometheus", path: path, dir: home, env: baseEnv(home), args: []string{
			"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(home, "data"), "--web.listen-address=" + addr,
		}}.start()
	}
	if err == nil {
		err = p.proc.await(ctx, prometheusReadyLimit, func(ctx context.Context) error {
			_, err := p.get(ctx, "/-/ready")
			return err
		})
	}
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// Series is one series of an answer: its labels, and its values by time.
type Series struct {
	Metric map[string]string `json:"metric"`
	Values [][2]any          `json:"values"` // Unix seconds, value as text
	Value  [2]any            `json:"value"`
}

// Query asks for the values of an expression now.
func (p *Prometheus) Query(ctx context.Context, expr string) ([]Series, error) {
	return p.series(ctx, "/api/v1/query?"+url.Values{"query": {expr}}.Encode())
}

// QueryRange asks for its values over a time.
func (p *Prometheus) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	return p.series(ctx, "/api/v1/query_range?"+url.Values{
		"query": {expr}, "start": {unixText(from)}, "end": {unixText(to)}, "step": {fmt.Sprint(step.Seconds())},
	}.Encode())
}

func unixText(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }

func (p *Prometheus) series(ctx context.Context, path string) ([]Series, error) {
	var data struct {
		Result []Series `json:"result"`
	}
	return data.Result, p.api(ctx, path, &data)
}

// Names are the names of all metrics it has.
func (p *Prometheus) Names(ctx context.Context) (names []string, err error) {
	return names, p.api(ctx, "/api/v1/label/__name__/values", &names)
}

// Alert is a pending or firing alert.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

// Alerts are those that are not quiet.
func (p *Prometheus) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct {
		Alerts []Alert `json:"alerts"`
	}
	return data.Alerts, p.api(ctx, "/api/v1/alerts", &data)
}

func (p *Prometheus) api(ctx context.Context, path string, into any) error {
	body, err := p.get(ctx, path)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("prometheus: %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

func (p *Prometheus) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("prometheus answers %s: %.300s", resp.Status, body)
	}
	return body, err
}

// Logs is what it wrote.
func (p *Prometheus) Logs() string { return p.proc.log() }

// Stop ends it and removes its folder. Safe on nil.
func (p *Prometheus) Stop() {
	if p == nil {
		return
	}
	p.proc.stop()
	_ = os.RemoveAll(p.dir)
}
