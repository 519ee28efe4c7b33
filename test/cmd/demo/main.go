// Command demo plays the product's story on the terminal, on real parts: a Prefect server with a worker, an OpenID
// provider, and the gateway with the repository's kong.yml. Every step is a real HTTP call, shown with its answer; a
// step that is not answered as told ends the demo with exit status 1.
//
// It refuses to build or install anything (`make demo` does that before), to listen on anything but 127.0.0.1, and to
// leave anything running. Run it in the repository's root.
//
// Read tell in story.go first.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// demoLimit ends a demo that hangs in spite of every limit below it.
const demoLimit = 5 * time.Minute

func main() {
	os.Exit(run())
}

func run() int {
	// The provider logs every refused request; the story shows them itself.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	signals, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{out: newScreen(os.Stdout), keep: os.Getenv("KEEP") != ""}
	lastLine, err := d.play(signals)
	switch {
	case err == nil:
		d.out.line(lastLine)
		return 0
	case signals.Err() != nil:
		d.out.line("demo: interrupted, everything is stopped")
		return 130
	default:
		d.out.line("demo: failed: " + err.Error())
		return 1
	}
}

// demo is what the story is told with.
type demo struct {
	out     *screen
	keep    bool
	secrets map[string]string // of service accounts
	parts   *stack.Stack
	gateway *stack.Gateway
}

// play starts everything, tells the story and stops everything, whatever happens. It returns the demo's last line.
func (d *demo) play(signals context.Context) (lastLine string, err error) {
	defer d.stop()
	ctx, cancel := context.WithTimeout(signals, demoLimit)
	defer cancel()
	if err := d.start(ctx); err != nil {
		return "", err
	}
	if lastLine, err = d.tell(ctx); err != nil {
		if signals.Err() == nil {
			d.showLogs()
		}
		return "", err
	}
	if d.keep {
		d.showAddresses()
		<-signals.Done()
	}
	return lastLine, nil
}

func (d *demo) start(ctx context.Context) (err error) {
	d.out.chapter("Starting the parts, all on 127.0.0.1")
	done := d.out.working("starting Prefect and its worker")
	d.secrets = map[string]string{"svc-nightly": rand.Text(), "svc-stranger": rand.Text()}
	d.parts, err = stack.Start(ctx, stack.Options{
		Prefect:  stack.PrefectOptions{Venv: stack.VenvFromEnv("build/venv"), UI: d.keep},
		FlowsDir: "examples/flows",
		Provider: provider.Options{
			Audience: []string{"kong-prefect"},
			Services: []provider.Service{
				{ID: "svc-nightly", Secret: d.secrets["svc-nightly"]},
				{ID: "svc-stranger", Secret: d.secrets["svc-stranger"]},
			},
			People: []provider.Person{{
				Subject: "5d1a7c1e-alice", Username: "alice", Password: rand.Text(),
				Name: "Alice Ä", Email: "alice@example.com", Groups: []string{"data-team"},
			}},
		},
		Notice: d.out.up,
	})
	done()
	if err != nil {
		return err
	}
	began := time.Now()
	d.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Plugin:     "build/kong-prefect",
		DevGateway: "build/devgateway",
		Config:     "kong.yml",
		Env: []string{
			"OIDC_ISSUER=" + d.parts.Provider.Issuer(),
			"PREFECT_API_URL=" + d.parts.Prefect.APIURL(),
			"PREFECT_API_AUTH_STRING=" + d.parts.Prefect.AuthString(),
		},
	})
	if err != nil {
		return err
	}
	d.out.up("gateway at "+d.gateway.URL()+", with kong.yml", time.Since(began))
	return nil
}

func (d *demo) stop() {
	done := d.out.working("stopping everything")
	d.gateway.Stop()
	d.parts.Stop()
	done()
}

func (d *demo) showLogs() {
	for _, log := range []struct{ name, text string }{
		{"gateway", d.gateway.Logs()},
		{"Prefect worker", d.parts.Worker.Logs()},
		{"Prefect server", d.parts.Prefect.Logs()},
	} {
		d.out.chapter("The end of the log: " + log.name)
		d.out.line(stack.Tail(log.text))
	}
}

func (d *demo) showAddresses() {
	d.out.chapter("Still running, until Ctrl-C")
	for _, row := range [][2]string{
		{"gateway", d.gateway.URL()},
		{"Prefect's UI", d.parts.Prefect.URL() + "  (its password: " + d.parts.Prefect.AuthString() + ")"},
		{"a token", fmt.Sprintf("curl -su svc-nightly:%s -d grant_type=client_credentials %s/oauth/token",
			d.secrets["svc-nightly"], d.parts.Provider.Issuer())},
	} {
		d.out.line(fmt.Sprintf("  %-13s %s", row[0], row[1]))
	}
}

// errUnexpected is a step that was not answered as the story says.
var errUnexpected = errors.New("not the answer that was expected")
