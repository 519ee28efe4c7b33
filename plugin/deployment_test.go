package plugin

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

// What is good is remembered; what makes the trigger refuse is asked for again: somebody is mending it. A crowd of
// requests is one question either way.
func TestWhatRefusesIsForgottenSoon(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		deployment prefecttest.Deployment
		executable bool
		age        time.Duration
	}{
		"with a work pool": {prefecttest.Deployment{WorkPool: "p"}, true, deploymentAge},
		"served":           {prefecttest.Deployment{Served: true}, true, deploymentAge},
		"paused":           {prefecttest.Deployment{WorkPool: "p", Paused: true}, false, refusedAge},
		"nobody's":         {prefecttest.Deployment{}, false, refusedAge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := prefecttest.NewServer(prefecttest.Options{})
			t.Cleanup(server.Close)
			client, err := prefectclient.New(prefectclient.Options{APIURL: server.URL})
			require.NoError(t, err)
			now := time.Now()
			d := newDeployment(client, deploymentName{flow: "report", name: "prod"}, func() time.Time { return now })
			requireExecutable := func(want bool, questions int) {
				t.Helper()
				found, err := d.find(context.Background())
				require.NoError(t, err)
				require.Equal(t, want, found.executed && !found.facts.Paused)
				require.Len(t, server.Requests(), questions)
			}
			c.deployment.Flow, c.deployment.Name = "report", "prod"
			server.AddDeployment(c.deployment)
			requireExecutable(c.executable, 1)
			server.RemoveDeployment("report", "prod")
			server.AddDeployment(prefecttest.Deployment{Flow: "report", Name: "prod", Served: !c.executable})
			now = now.Add(c.age - 1)
			requireExecutable(c.executable, 1)
			now = now.Add(1)
			requireExecutable(!c.executable, 2)
		})
	}
}
