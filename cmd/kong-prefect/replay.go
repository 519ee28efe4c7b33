package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/replay"
)

func newReplayCommand() *cobra.Command {
	var o replay.Options
	var next, was, from, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "replay DIR",
		GroupID: groupBefore,
		Short:   "Say who would gain or lose what under another kong.yml",
		Long: `Decide anew what the audit has on record, under the roles, allow rules and
grants of another kong.yml: who would lose or gain what, how often it was, and
when last. Refusals that are about no policy (a bad token, wrong parameters)
are left out.

What a record can't tell (a claim, a parameter that isn't in clear, a limit) is
undecidable and never guessed. With --was, the kong.yml of now, a request about
which both say the same word for word is unchanged, whatever the record lacks.

Exit code 1 says that somebody would gain or lose something.`,
		Example: `  kong-prefect replay /var/lib/kong-prefect/audit --policy new.yml --was kong.yml
  kong-prefect replay /var/lib/kong-prefect/audit --policy new.yml --from 2026-11-01 --json`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: aDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if next == "" {
				return fmt.Errorf("%w: replay needs --policy, the kong.yml to come", errUsage)
			}
			o.Audit, o.Env = args[0], os.LookupEnv
			var err error
			if o.From, o.To, err = timeSpan(from, to); err != nil {
				return err
			}
			if o.Policy, err = readKongYML(next); err != nil {
				return err
			}
			if was != "" {
				if o.Was, err = readKongYML(was); err != nil {
					return err
				}
			}
			p := progressOn(cmd.ErrOrStderr())
			o.Progress = func(n int) { p.at("%d records", n) }
			outcome, err := replay.Replay(o)
			p.end()
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), outcome)
			} else {
				err = tellOutcome(cmd.OutOrStdout(), outcome)
			}
			if n := outcome.Counts[replay.Loses] + outcome.Counts[replay.Gains] + outcome.Counts[replay.Other]; err == nil && n > 0 {
				err = fmt.Errorf("the new configuration is %w with the past: %d decisions would be others", errFound, n)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&next, "policy", "", "the kong.yml to come")
	f.StringVar(&was, "was", "", "the kong.yml of now; what both say the same about is unchanged")
	f.StringVar(&from, "from", "", "from this time on: 2026-11-24 or 2026-11-24T03:00:00Z")
	f.StringVar(&to, "to", "", "before this time")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	fileFlag(cmd, "policy", "yml", "yaml")
	fileFlag(cmd, "was", "yml", "yaml")
	return cmd
}

func readKongYML(path string) (*kongyml.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := kongyml.Read(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func tellOutcome(out io.Writer, o replay.Outcome) error {
	s := screenOf(out)
	looks := map[replay.Effect]paint{replay.Loses: bad, replay.Gains: caution, replay.Other: caution, replay.Undecidable: advised}
	if len(o.Changes) > 0 {
		t := s.table("", "CALLER", "WHAT", "WAS", "WOULD BE", "TIMES", "LAST")
		for _, c := range o.Changes {
			t.row(painted{looks[c.Effect], string(c.Effect)}, c.Caller, c.What, c.Was, c.WouldBe, c.Times, c.Last.UTC().Format(time.DateTime))
		}
		if err := t.print(); err != nil {
			return err
		}
	}
	return s.say(fmt.Sprintf("%d decisions: %d unchanged, %d lost, %d gained, %d for another deployment, %d undecidable; %d refusals aren't about policy",
		o.Decisions, o.Counts[replay.Unchanged], o.Counts[replay.Loses], o.Counts[replay.Gains], o.Counts[replay.Other], o.Counts[replay.Undecidable], o.Skipped))
}
