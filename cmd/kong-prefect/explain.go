package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/explain"
	"github.com/kong-prefect/kong-prefect/signing"
)

// explainOptions are the flags of explain.
type explainOptions struct {
	token, tokenFile string
	method, path     string
	host, scheme     string
	headers          []string
	body             string
	address          string
	route            string
	offline          bool
	jwks             string
	keys             []string
	decision         string
	audit            string
	asJSON           bool
}

func newExplainCommand() *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:     "explain [KONG_YML]",
		GroupID: groupBefore,
		Short:   "Tell the way of one request, stage by stage",
		Long: `Tell the way of one request through a kong.yml: which route, which key, which
claims, which identity, which roles, which rule, which deployment, and what
would be stamped and sent. The plugins themselves run, so the verdict is the
gateway's own; what would change something at Prefect is shown and not sent.

The issuer's keys and Prefect are asked as kong.yml says, with the references
to Kong's env vault taken from this environment. With --offline nobody is
asked, and what would have been is said to be unknown. No token, signature or
credential is printed; claims are.

With --decision it is a decision of the past that is told, from the audit.

Exit code 1 says that the request is refused, 3 that it can't be told.`,
		Example: `  kong-prefect explain kong.yml --token-file token.txt --method POST --path /run/nightly-report --body body.json
  kong-prefect explain kong.yml --token-file - --path /api/flow_runs/filter --offline --jwks keys.json
  kong-prefect explain --decision 3f7e0a4f9c1d4b7e8a2b6c5d4e3f2a1b --audit /var/lib/kong-prefect/audit`,
		Args:              usageArgs(cobra.MaximumNArgs(1)),
		ValidArgsFunction: aFile("yml", "yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e explain.Explanation
			var err error
			switch {
			case o.decision != "" && (o.audit == "" || len(args) > 0):
				err = fmt.Errorf("%w: --decision needs --audit, and no kong.yml", errUsage)
			case o.decision != "":
				e, err = explain.Decision(o.audit, o.decision)
			case len(args) == 0 || o.path == "":
				err = fmt.Errorf("%w: explain needs a kong.yml and --path", errUsage)
			default:
				e, err = explainRequest(cmd.Context(), args[0], o, cmd.InOrStdin(), cmd.ErrOrStderr())
			}
			if err != nil {
				return err
			}
			if o.asJSON {
				err = writeJSON(cmd.OutOrStdout(), e)
			} else {
				err = tellExplanation(cmd.OutOrStdout(), e)
			}
			return errors.Join(err, verdictError(e.Verdict))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.token, "token", "", "the bearer token; other users of this machine can see it while the command runs")
	f.StringVar(&o.tokenFile, "token-file", "", "a file with the bearer token; - is standard input")
	f.StringVar(&o.method, "method", http.MethodPost, "the request's method")
	f.StringVar(&o.path, "path", "", "the request's path with its query, as it is sent")
	f.StringVar(&o.host, "host", "", "the request's host, where routes or proofs look at it")
	f.StringVar(&o.scheme, "scheme", "https", "the scheme by which the request reaches Kong, http or https")
	f.StringArrayVar(&o.headers, "header", nil, "a further header, 'Name: value'; several times")
	f.StringVar(&o.body, "body", "", "a file with the request's body")
	f.StringVar(&o.address, "address", "127.0.0.1", "the client's address, where conditions look at it")
	f.StringVar(&o.route, "route", "", "the route's name in kong.yml; default: the one that Kong's rules choose")
	f.BoolVar(&o.offline, "offline", false, "ask neither Prefect nor an issuer")
	f.StringVar(&o.jwks, "jwks", "", "a file with the issuer's keys (JWKS), in place of where kong.yml has them")
	f.StringArrayVar(&o.keys, "keys", nil, "the gateway's published key set, a JWKS file, to believe the stamp of a run that asks")
	f.StringVar(&o.decision, "decision", "", "a request's id, or a record's number, of the audit")
	f.StringVar(&o.audit, "audit", "", "the audit's folder, for --decision")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	for _, name := range []string{"jwks", "keys", "body"} {
		fileFlag(cmd, name, "json")
	}
	completeFlag(cmd, "method", []string{"GET", "POST", "PUT", "PATCH", "DELETE"})
	completeFlag(cmd, "scheme", []string{"http", "https"})
	return cmd
}

func explainRequest(ctx context.Context, path string, o explainOptions, stdin io.Reader, stderr io.Writer) (e explain.Explanation, err error) {
	options := explain.Options{
		Route: o.route, Method: strings.ToUpper(o.method), Target: o.path, Scheme: o.scheme, Address: o.address,
		Offline: o.offline, JWKSFile: o.jwks, Env: os.LookupEnv,
		Log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	if options.File, err = readKongYML(path); err != nil {
		return e, err
	}
	if options.Headers, err = o.requestHeaders(stdin); err != nil {
		return e, err
	}
	if o.body != "" {
		if options.Body, err = os.ReadFile(o.body); err != nil {
			return e, err
		}
		if options.Headers["content-type"] == nil {
			options.Headers["content-type"] = []string{"application/json"}
		}
	}
	// Keys of the moment: nothing that is shown is signed for anybody.
	dir, err := os.MkdirTemp("", "kong-prefect-explain-")
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	options.Signing, err = signing.Open(signing.Options{File: filepath.Join(dir, "keys.json"), Peers: o.keys})
	if err != nil {
		return e, err
	}
	e, err = explain.Explain(ctx, options)
	if errors.Is(err, explain.ErrOptions) {
		err = fmt.Errorf("%w: %w", errUsage, err)
	}
	return e, err
}

// requestHeaders are those of the flags, by names in lower case.
func (o explainOptions) requestHeaders(stdin io.Reader) (map[string][]string, error) {
	headers := map[string][]string{}
	for _, line := range o.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: --header wants 'Name: value'", errUsage)
		}
		name = strings.ToLower(strings.TrimSpace(name))
		headers[name] = append(headers[name], strings.TrimSpace(value))
	}
	if o.host != "" {
		headers["host"] = []string{o.host}
	}
	token := o.token
	if o.tokenFile != "" {
		if token != "" {
			return nil, fmt.Errorf("%w: give one of --token and --token-file", errUsage)
		}
		data, err := readFileOr(o.tokenFile, stdin)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(data))
	}
	if token != "" {
		headers["authorization"] = append(headers["authorization"], "Bearer "+token)
	}
	return headers, nil
}

// readFileOr reads a file, or standard input for "-".
func readFileOr(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(stdin, 1<<20))
	}
	return os.ReadFile(path)
}

// verdictError makes the exit code.
func verdictError(v explain.Verdict) error {
	switch v.Outcome {
	case explain.Refused:
		return fmt.Errorf("the request is %w: it is refused", errFound)
	case explain.Unknown:
		return errors.New("it can't be told how the request ends")
	}
	return nil
}
