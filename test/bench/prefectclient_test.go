package bench

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

// prefectclientRows measures what a create through the client costs over a plain POST of the same body, and how many of
// them a Prefect with PostgreSQL takes from many callers either way. Both ways take turns at one server.
func prefectclientRows(b *bench) []row {
	apiURL, auth, deployment := b.prefect()
	client, err := prefectclient.New(prefectclient.Options{
		APIURL: apiURL, Credentials: prefectclient.AuthString(auth), MaxConcurrentPerRoute: 64,
	})
	require.NoError(b, err)
	defer client.Close()
	ctx := b.Context()
	run := func() prefectclient.NewFlowRun {
		return prefectclient.NewFlowRun{
			IdempotencyKey: uuid.NewString(), Parameters: map[string]any{"region": "emea"}, Tags: []string{"caller:svc-nightly"},
			Context: map[string]any{"request": uuid.NewString()},
		}
	}
	ours := func() error {
		_, _, err := client.CreateFlowRun(ctx, deployment, run())
		return err
	}
	plain := newPlainCaller(apiURL, auth, deployment)
	direct := func() error { return plain.create(run()) }

	creates, turns, turn := 150, 5, 6*time.Second
	if b.quick {
		creates, turns, turn = 3, 1, 20*time.Millisecond
	}
	took := func(do func() error) float64 {
		began := time.Now()
		require.NoError(b, do())
		return float64(time.Since(began).Microseconds()) / 1e3
	}
	var directly, through []float64
	for range creates {
		directly = append(directly, took(direct))
		through = append(through, took(ours))
	}
	slices.Sort(directly)
	slices.Sort(through)
	rows := []row{
		figure("prefectclient/create/callers=1/direct p50", directly[len(directly)/2], "ms"),
		figure("prefectclient/create/callers=1/over direct p50", through[len(through)/2]-directly[len(directly)/2], "ms").atMost(1),
	}
	const callers = 32
	var ratios, speeds, noise []float64
	for range turns {
		before := rate(callers, turn, direct)
		speed := rate(callers, turn, ours)
		after := rate(callers, turn, direct)
		ratios, speeds = append(ratios, speed/((before+after)/2)), append(speeds, speed)
		noise = append(noise, min(before, after)/max(before, after))
	}
	slices.Sort(ratios)
	slices.Sort(speeds)
	slices.Sort(noise)
	return append(rows,
		figure(fmt.Sprintf("prefectclient/create/callers=%d ÷ direct", callers), ratios[len(ratios)/2], "×").atLeast(0.97),
		// What the same figure is where nothing differs: below the goal it says nothing of the client.
		figure(fmt.Sprintf("prefectclient/create/callers=%d/direct ÷ direct", callers), noise[len(noise)/2], "×"),
		figure(fmt.Sprintf("prefectclient/create/callers=%d", callers), speeds[len(speeds)/2], "/s"),
	)
}

// prefect is a real server with PostgreSQL and one deployment; in a hurry it is a fake.
func (b *bench) prefect() (apiURL, auth string, deployment uuid.UUID) {
	b.Helper()
	if b.quick {
		server := prefecttest.NewServer(prefecttest.Options{AuthStrings: []string{"a:b"}})
		b.Cleanup(server.Close)
		return server.URL, "a:b", server.AddDeployment(prefecttest.Deployment{Flow: "f", Name: "d"}).ID
	}
	ctx := b.Context()
	postgres, err := stack.StartPostgres(ctx)
	if errors.Is(err, stack.ErrNotInstalled) {
		b.Skip(err)
	}
	require.NoError(b, err)
	b.Cleanup(postgres.Stop)
	require.NoError(b, postgres.CreateDatabase(ctx, "prefect"))
	p, err := stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join("../../build/venv")), DatabaseURL: postgres.PrefectURL("prefect")})
	require.NoError(b, err)
	b.Cleanup(p.Stop)
	require.NoError(b, p.Ready(ctx))
	var flow, made struct{ ID uuid.UUID }
	require.NoError(b, p.Post(ctx, "/flows/", map[string]any{"name": "f"}, &flow))
	require.NoError(b, p.Post(ctx, "/deployments/", map[string]any{"name": "d", "flow_id": flow.ID}, &made))
	return p.APIURL(), p.AuthString(), made.ID
}

// plainCaller is what anybody would write: net/http with kept connections.
type plainCaller struct {
	http               *http.Client
	url, authorization string
}

func newPlainCaller(apiURL, auth string, deployment uuid.UUID) *plainCaller {
	return &plainCaller{
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 4 * time.Second}},
		url:  apiURL + "/deployments/" + deployment.String() + "/create_flow_run", authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(auth)),
	}
}

func (c *plainCaller) create(run prefectclient.NewFlowRun) error {
	body, err := json.Marshal(map[string]any{
		"idempotency_key": run.IdempotencyKey, "parameters": run.Parameters, "tags": run.Tags, "context": run.Context,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", c.authorization)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("prefect answers %s", resp.Status)
	}
	var made prefectclient.FlowRun
	return json.Unmarshal(data, &made)
}
