package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/doctor"
	"github.com/kong-prefect/kong-prefect/plugin"
)

func newDoctorCommand() *cobra.Command {
	var o doctor.Options
	var config, tokenFile, idTokenFile, caFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor URL",
		GroupID: groupRunning,
		Short:   "Examine a running gateway, as an attacker and as an operator would",
		Long: `Examine a running gateway from outside: routes that let requests pass without
a token, spoofed headers in every spelling, tokens that are none, a storm of
unknown keys, side doors to Prefect, a process that is dead or runs an old
configuration, clocks, keys and certificates that are about to expire.

It is safe in production: no request can start a run, their number is bounded,
they come slowly, and their User-Agent is kong-prefect-doctor. The more it is
given, the more it can tell: kong.yml, a token, an upstream that echoes. What
it can't tell is unknown, and never counts as well.

Exit code 1 says that something is a warning or a danger.`,
		Example: `  kong-prefect doctor https://gateway.example.com --config kong.yml --token-file token.txt --prefect-url http://prefect:4200/api
  kong-prefect doctor http://127.0.0.1:8000 --path /run/nightly-report --process http://127.0.0.1:8710 --json`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Gateway, o.Env, o.Version = args[0], os.LookupEnv, plugin.Version
			p := progressOn(cmd.ErrOrStderr())
			o.Progress = func(check string) { p.at("examining: %s", check) }
			err := readDoctorsFiles(&o, config, tokenFile, idTokenFile, caFile, cmd.InOrStdin())
			if err != nil {
				return err
			}
			report, err := doctor.Examine(cmd.Context(), o)
			p.end()
			if errors.Is(err, doctor.ErrOptions) {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), report)
			} else {
				err = tellReport(cmd.OutOrStdout(), report)
			}
			if worst := report.Worst(); err == nil && (worst == doctor.Danger || worst == doctor.Warning) {
				err = fmt.Errorf("the gateway is %w", errFound)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "the kong.yml that the gateway should run")
	f.StringArrayVar(&o.Paths, "path", nil, "a path that must not be open, read by GET; several times")
	f.StringVar(&tokenFile, "token-file", "", "a file with a true access token; - is standard input")
	f.StringVar(&idTokenFile, "id-token-file", "", "a file with an ID token of the same issuer, which must be refused")
	f.StringVar(&o.EchoPath, "echo", "", "a path whose upstream answers with the headers it got")
	f.StringVar(&o.Issuer, "issuer", "", "the issuer whose tokens are taken; default: kong.yml's first")
	f.StringVar(&o.Audience, "audience", "", "the audience of those tokens; default: kong.yml's first")
	f.StringVar(&o.Prefect, "prefect-url", "", "the address of Prefect's API, which nobody but the gateway should reach")
	f.StringVar(&o.Process, "process", "", "the plugin process's own port (serve --listen), http://127.0.0.1:8710 for instance")
	f.StringVar(&caFile, "ca", "", "a PEM file with the certificate authorities to trust instead of the system's")
	f.IntVar(&o.PerSecond, "rate", 10, "how many requests may be sent in a second")
	f.IntVar(&o.MaxRequests, "max-requests", 300, "how many requests may be sent")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	fileFlag(cmd, "config", "yml", "yaml")
	fileFlag(cmd, "ca", "pem", "crt")
	return cmd
}

func readDoctorsFiles(o *doctor.Options, config, tokenFile, idTokenFile, caFile string, stdin io.Reader) error {
	if config != "" {
		var err error
		if o.File, err = readKongYML(config); err != nil {
			return err
		}
	}
	for path, into := range map[string]*string{tokenFile: &o.Token, idTokenFile: &o.IDToken} {
		if path == "" {
			continue
		}
		data, err := readFileOr(path, stdin)
		if err != nil {
			return err
		}
		*into = strings.TrimSpace(string(data))
	}
	if caFile != "" {
		data, err := os.ReadFile(caFile)
		if err != nil {
			return err
		}
		if o.Roots = x509.NewCertPool(); !o.Roots.AppendCertsFromPEM(data) {
			return fmt.Errorf("%s: there is no certificate in it", caFile)
		}
	}
	return nil
}

// tellReport writes a report for people: a line for each finding, and below
// what isn't well what it means and what to do.
func tellReport(out io.Writer, r doctor.Report) error {
	s := screenOf(out)
	looks := map[doctor.Verdict]paint{doctor.OK: good, doctor.Unknown: advised, doctor.Warning: caution, doctor.Danger: bad}
	t := s.table()
	counts := map[doctor.Verdict]int{}
	for _, f := range r.Findings {
		counts[f.Verdict]++
		says := f.Says
		if f.Target != "" {
			says = f.Target + ": " + says
		}
		t.row(painted{looks[f.Verdict], string(f.Verdict)}, f.Check, says)
		if f.Means != "" {
			t.row("", "", f.Means)
		}
		if f.Do != "" {
			t.row("", "", "→ "+f.Do)
		}
	}
	if err := t.print(); err != nil {
		return err
	}
	return s.say(fmt.Sprintf("%d ok, %d unknown, %d warnings, %d dangers; %d requests", counts[doctor.OK], counts[doctor.Unknown],
		counts[doctor.Warning], counts[doctor.Danger], r.Requests))
}
