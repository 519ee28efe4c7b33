package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// verifyRunOptions are the flags of verify-run.
type verifyRunOptions struct {
	apiURL   string
	authFile string
	keys     []string
	asJSON   bool
}

func newVerifyRunCommand() *cobra.Command {
	var o verifyRunOptions
	cmd := &cobra.Command{
		Use:     "verify-run RUN_ID",
		GroupID: groupRunning,
		Short:   "Say whether a run's stamp is genuine, and the run unaltered",
		Long: `Read a run from Prefect and check its stamp against the gateway's published
keys: that the gateway signed it, for this run of this deployment with these
parameters, that it was good when the run started (or is now, where it hasn't
ended), and that context, "Created By", tags and labels say what was signed.

The credential for Prefect is taken from --auth-file, or from the variables
that Prefect's own command line uses: PREFECT_API_AUTH_STRING, PREFECT_API_KEY.`,
		Example: `  kong-prefect verify-run 4e945547-cbef-4f9e-8895-a3b76c09438f \
    --api-url http://prefect:4200/api --auth-file /run/secrets/prefect \
    --keys https://gateway.example.com/.well-known/jwks.json`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuid.Parse(args[0])
			if err != nil {
				return fmt.Errorf("%w: %q is no run's id", errUsage, args[0])
			}
			if len(o.keys) == 0 || o.apiURL == "" {
				return fmt.Errorf("%w: verify-run needs --keys and --api-url", errUsage)
			}
			return verifyRun(cmd.Context(), cmd.OutOrStdout(), id, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.apiURL, "api-url", os.Getenv("PREFECT_API_URL"), "Prefect's API; default: the variable PREFECT_API_URL")
	f.StringVar(&o.authFile, "auth-file", "", "a file with the server's auth string")
	f.StringArrayVar(&o.keys, "keys", nil, "the gateway's key set: an https:// address (http:// on this machine), or a file; several times for several nodes")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

// runVerdict is what verify-run prints.
type runVerdict struct {
	Run      uuid.UUID       `json:"run"`
	Name     string          `json:"name"`
	State    string          `json:"state"`
	Genuine  bool            `json:"genuine"`
	Findings []stamp.Finding `json:"findings"`
	// Stamp is what the gateway signed; absent where it signed nothing.
	Stamp *stamp.Claims `json:"stamp,omitempty"`
}

func verifyRun(ctx context.Context, out io.Writer, id uuid.UUID, o verifyRunOptions) error {
	keys, err := readKeySets(ctx, o.keys)
	if err != nil {
		return err
	}
	client, err := prefectclient.New(prefectclient.Options{
		APIURL: strings.TrimSuffix(o.apiURL, "/"), Credentials: prefectCredentials(o.authFile), UserAgent: "kong-prefect/" + plugin.Version,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.FlowRun(ctx, id)
	if err != nil {
		return err
	}
	v := runVerdict{Run: run.ID, Name: run.Name, State: run.State.Name, Findings: []stamp.Finding{}}
	signed, findings := stamp.Examine(plugin.Stored(run, time.Now()), keys)
	v.Stamp, v.Genuine, v.Findings = signed, len(findings) == 0, append(v.Findings, findings...)
	if o.asJSON {
		err = writeJSON(out, v)
	} else {
		err = v.tell(out)
	}
	if err == nil && !v.Genuine {
		err = fmt.Errorf("the stamp of run %s is %w", id, errFound)
	}
	return err
}

func (v runVerdict) tell(out io.Writer) error {
	t := screenOf(out).table()
	t.row("run", v.Run, v.Name+", "+v.State)
	if c := v.Stamp; c != nil {
		t.row("caller", c.Caller.Name, fmt.Sprintf("%s, %s of %s", c.Caller.Kind, c.Caller.Subject, c.Caller.Issuer))
		for _, a := range c.Actors {
			t.row("by", a.Display(), a.Issuer)
		}
		t.row("right", c.Rule, "roles "+strings.Join(c.Roles, ", "))
		t.row("stamped", c.IssuedAt.UTC().Format(time.RFC3339),
			fmt.Sprintf("good until %s, request %s", c.ExpiresAt.UTC().Format(time.RFC3339), c.RequestID))
	}
	for _, f := range v.Findings {
		t.row(painted{bad, "WRONG"}, f.Code, f.Detail)
	}
	if v.Genuine {
		t.row("verdict", painted{good, "genuine"}, "signed by the gateway, and unaltered")
	}
	return t.print()
}

// prefectCredentials are Prefect's own command line's, or a file's.
func prefectCredentials(file string) prefectclient.Credentials {
	switch {
	case file != "":
		return prefectclient.AuthStringFile(file)
	case os.Getenv("PREFECT_API_AUTH_STRING") != "":
		return prefectclient.AuthString(os.Getenv("PREFECT_API_AUTH_STRING"))
	case os.Getenv("PREFECT_API_KEY") != "":
		return prefectclient.APIKey(os.Getenv("PREFECT_API_KEY"))
	default:
		return nil
	}
}

// stampKeys are the key sets of several nodes.
type stampKeys []*signing.KeySet

// Verify takes what any of the sets takes.
func (s stampKeys) Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error {
	err := signing.ErrUnknownKey
	for _, set := range s {
		if err = set.Verify(compact, typ, claims, options...); !errors.Is(err, signing.ErrUnknownKey) {
			return err
		}
	}
	return err
}

func readKeySets(ctx context.Context, sources []string) (stampKeys, error) {
	var sets stampKeys
	for _, source := range sources {
		data, err := readKeySet(ctx, source)
		if err != nil {
			return nil, fmt.Errorf("key set %s: %w", source, err)
		}
		set, err := signing.ParseKeySet(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

const (
	keySetTimeout  = 10 * time.Second
	maxKeySetBytes = 1 << 20
)

// readKeySet reads a file, or an address that nobody in between can answer
// for. Redirects are not followed: they could lead anywhere.
func readKeySet(ctx context.Context, source string) ([]byte, error) {
	if !strings.Contains(source, "://") {
		return os.ReadFile(source)
	}
	u, err := url.Parse(source)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("%w: only https:// can be trusted beyond this machine", errUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, keySetTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxKeySetBytes))
}
