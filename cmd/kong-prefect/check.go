package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/check"
)

// checkOptions are the flags of check.
type checkOptions struct {
	offline, strict, asJSON bool
	timeout                 time.Duration
}

func newCheckCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:     "check FILE...",
		GroupID: groupBefore,
		Short:   "Say what is wrong with a configuration, before it is rolled out",
		Long: `Read a gateway's configuration and say all that is wrong with it at once:
fields, conditions, roles that nobody has, routes that no prefect-identity
reaches, plugins that don't go together, secrets in clear. Each thing is told
with its line, its field, a code (docs/check.md) and what to do.

The files are decK's or Kong's own (kong.yml), or manifests of Kong's ingress
controller; several are checked as one. "-" is standard input.

Unless --offline is given, the issuers are asked for their keys, and Prefect
for the deployments, whose parameters are compared with the routes'. Nothing
is changed there. {vault://env/...} and decK's variables are taken from the
environment; what isn't there is listed as not checked.`,
		Example: `  kong-prefect check kong.yml
  kong-prefect check --offline --strict kong.yml
  kubectl get kongplugins,kongclusterplugins,ingresses -A -o yaml | kong-prefect check -
  kong-prefect check --json kong.yml | jq -r '.findings[].code'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCheck(cmd, args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.offline, "offline", false, "ask nobody: no issuer, no Prefect")
	f.BoolVar(&o.strict, "strict", false, "end with 1 for warnings too, not only for errors")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long asking may take altogether")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

func runCheck(cmd *cobra.Command, names []string, o checkOptions) error {
	files, err := readFiles(cmd.InOrStdin(), names)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	p := progressOn(cmd.ErrOrStderr())
	report := check.Check(ctx, files, check.Options{
		Offline: o.offline, Env: os.LookupEnv,
		Progress: func(what string, n, of int) { p.at("asking %s (%d of %d)", what, n, of) },
	})
	p.end()
	if o.asJSON {
		err = writeJSON(cmd.OutOrStdout(), report)
	} else {
		err = tellCheck(screenOf(cmd.OutOrStdout()), report)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("not all were asked within %s: give a longer --timeout, or --offline", o.timeout)
	}
	wrong := counted(report.Count(check.Error), "error")
	if o.strict {
		wrong = joined(wrong, counted(report.Count(check.Warning), "warning"))
	}
	if wrong != "" {
		return fmt.Errorf("the configuration is %w: %s", errFound, wrong)
	}
	return nil
}

func readFiles(stdin io.Reader, names []string) (files []check.File, err error) {
	var problems []error
	for _, name := range names {
		f := check.File{Name: name}
		if name == "-" {
			f.Name = "<stdin>"
			f.Data, err = io.ReadAll(stdin)
		} else {
			f.Data, err = os.ReadFile(name)
		}
		if err != nil {
			problems = append(problems, err)
		}
		files = append(files, f)
	}
	return files, errors.Join(problems...)
}

// paints are the severities' looks.
var paints = map[check.Severity]paint{check.Error: bad, check.Warning: caution, check.Advice: advised}

func tellCheck(s screen, r check.Report) error {
	for _, f := range r.Findings {
		at := fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
		lines := [][]any{{painted{strong, at}, " ", painted{paints[f.Severity], string(f.Severity)}, " ", f.Code}}
		if where := whereOf(f.Entity, f.Field); where != "" {
			lines = append(lines, []any{"  ", painted{faint, where}})
		}
		lines = append(lines, []any{"  ", f.What}, []any{"  ", painted{good, "-> "}, f.Do}, nil)
		for _, line := range lines {
			if err := s.say(line...); err != nil {
				return err
			}
		}
	}
	for _, n := range r.NotChecked {
		at := fmt.Sprintf("%s:%d:%d", n.File, n.Line, n.Column)
		if err := s.say(painted{strong, at}, " ", painted{faint, "not checked: "}, whereOf(n.Entity, n.Field), ": ", n.Why); err != nil {
			return err
		}
	}
	if len(r.NotChecked) > 0 {
		if err := s.say(); err != nil {
			return err
		}
	}
	return s.say(summary(r)...)
}

func whereOf(entity, field string) string {
	if entity != "" && field != "" {
		return entity + ": " + field
	}
	return entity + field
}

func summary(r check.Report) []any {
	seen := "in " + joined(counted(r.Plugins, "plugin"), counted(r.Routes, "route"), counted(r.Files, "file"))
	if len(r.Asked) > 0 {
		seen += "; asked " + strings.Join(r.Asked, ", ")
	}
	if len(r.Findings) == 0 && r.Plugins == 0 {
		seen += ", and no plugin of kong-prefect's is there"
	}
	if len(r.Findings) == 0 {
		return []any{painted{good, "nothing is wrong"}, " ", seen}
	}
	var counts []string
	look := good
	for i := len(check.Severities) - 1; i >= 0; i-- {
		severity := check.Severities[i]
		if n := r.Count(severity); n > 0 {
			look = paints[severity]
			counts = append([]string{counted(n, string(severity))}, counts...)
		}
	}
	return []any{painted{look, joined(counts...)}, " ", seen}
}

// counted writes a number of things; empty where there are none.
func counted(n int, what string) string {
	switch {
	case n == 0:
		return ""
	case n == 1 || what == string(check.Advice):
		return fmt.Sprintf("%d %s", n, what)
	default:
		return fmt.Sprintf("%d %ss", n, what)
	}
}

func joined(parts ...string) string {
	var there []string
	for _, p := range parts {
		if p != "" {
			there = append(there, p)
		}
	}
	return strings.Join(there, ", ")
}
