package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/smallfile"
)

// outboxPlace says where the outbox is, by the same flags in all commands.
type outboxPlace struct {
	file, redis string
}

func (p *outboxPlace) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.file, "outbox", "", "file of the outbox, where requests are accepted while Prefect is away; on a local disk")
	f.StringVar(&p.redis, "outbox-redis", "", "a file that holds the address of a Redis, redis://USER:PASSWORD@HOST:PORT/DB: the outbox of several nodes, in place of --outbox")
	fileFlag(cmd, "outbox", "db")
}

// open gives the outbox; nil where none is named.
func (p *outboxPlace) open() (outbox.Store, error) {
	switch {
	case p.file != "" && p.redis != "":
		return nil, fmt.Errorf("%w: one of --outbox and --outbox-redis, not both", errUsage)
	case p.file != "":
		return outbox.OpenSQLite(outbox.SQLiteOptions{Path: p.file})
	case p.redis != "":
		address, err := smallfile.Secret(p.redis)
		if err != nil {
			return nil, err
		}
		return outbox.OpenRedis(outbox.RedisOptions{URL: address})
	}
	return nil, nil
}

// openThere is open for an outbox that a gateway has made.
func (p *outboxPlace) openThere() (outbox.Store, error) {
	if p.file == "" && p.redis == "" {
		return nil, fmt.Errorf("%w: say where the outbox is: --outbox or --outbox-redis, as serve has it", errUsage)
	}
	if p.file != "" && p.redis == "" {
		if _, err := os.Stat(p.file); err != nil {
			return nil, err
		}
	}
	return p.open()
}

func newOutboxCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "outbox",
		GroupID: groupRunning,
		Short:   "See and mend requests that were accepted while Prefect was away",
		Example: "  kong-prefect outbox list --outbox /var/lib/kong-prefect/outbox.db --status dead",
	}
	holds(cmd, newOutboxListCommand(), newOutboxRetryCommand(), newOutboxDropCommand())
	return cmd
}

func newOutboxListCommand() *cobra.Command {
	var place outboxPlace
	var status string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List accepted requests and how they stand",
		Long: `List what waits for Prefect, oldest first, and what can't be delivered (dead).
What was delivered or dropped can be looked at for a week, with --status.`,
		Example: `  kong-prefect outbox list --outbox /var/lib/kong-prefect/outbox.db
  kong-prefect outbox list --outbox /var/lib/kong-prefect/outbox.db --status dead --json`,
		Args:              usageArgs(cobra.NoArgs),
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, _ []string) error {
			statuses, err := statusesOf(status)
			if err != nil {
				return err
			}
			return withOutbox(place, func(s outbox.Store) error {
				var all []outbox.Entry
				for _, status := range statuses {
					some, err := s.List(cmd.Context(), status, limit)
					if err != nil {
						return err
					}
					all = append(all, some...)
				}
				if asJSON {
					return entriesJSON(cmd.OutOrStdout(), all)
				}
				return entriesTable(cmd.OutOrStdout(), all)
			})
		},
	}
	place.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&status, "status", "", "only this status: waiting, dead, delivered or dropped; default: waiting and dead")
	f.IntVar(&limit, "limit", 1000, "how many of each status")
	f.BoolVar(&asJSON, "json", false, "print the entries as they are, one a line")
	completeFlag(cmd, "status", []string{string(outbox.Waiting), string(outbox.Dead), string(outbox.Delivered), string(outbox.Dropped)})
	return cmd
}

func statusesOf(name string) ([]outbox.Status, error) {
	if name == "" {
		return []outbox.Status{outbox.Waiting, outbox.Dead}, nil
	}
	for _, s := range outbox.Statuses {
		if name == string(s) {
			return []outbox.Status{s}, nil
		}
	}
	return nil, fmt.Errorf("%w: --status must be one of waiting, dead, delivered, dropped", errUsage)
}

func withOutbox(place outboxPlace, do func(outbox.Store) error) error {
	s, err := place.openThere()
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

func entriesJSON(out io.Writer, all []outbox.Entry) error {
	e := json.NewEncoder(out)
	for _, one := range all {
		if err := e.Encode(one); err != nil {
			return err
		}
	}
	return nil
}

func entriesTable(out io.Writer, all []outbox.Entry) error {
	t := screenOf(out).table("ID", "STATUS", "ACCEPTED", "EXPIRES", "CALLER", "DEPLOYMENT", "RESULT")
	for _, e := range all {
		t.row(e.ID, painted{statusPaint(e.Status), string(e.Status)}, clock(e.Accepted), clock(e.Expires), e.Caller, e.Deployment, resultOf(e))
	}
	t.row(fmt.Sprintf("%d entries", len(all)))
	return t.print()
}

func statusPaint(s outbox.Status) paint {
	switch s {
	case outbox.Dead:
		return bad
	case outbox.Waiting:
		return caution
	case outbox.Delivered:
		return good
	}
	return plain
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func resultOf(e outbox.Entry) string {
	switch {
	case e.RunID != "":
		return "run " + e.RunID
	case e.Detail != "":
		return e.Reason + ": " + e.Detail
	}
	return e.Reason
}

func newOutboxRetryCommand() *cobra.Command {
	var place outboxPlace
	var every bool
	var period time.Duration
	cmd := &cobra.Command{
		Use:   "retry [ID]...",
		Short: "Let dead requests be delivered after all",
		Long: `Put dead requests at the end of their queues again, once what made Prefect
refuse them is mended. Each has the identity and the idempotency key with
which it was accepted, so no run is started twice. A request whose stamp is
no longer good can't be retried: its caller asks again.`,
		Example: `  kong-prefect outbox retry --outbox /var/lib/kong-prefect/outbox.db 6f2d7bb3-6b4f-5d6c-9a51-0d3e3a9b7c11
  kong-prefect outbox retry --outbox /var/lib/kong-prefect/outbox.db --all`,
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if period <= 0 {
				return fmt.Errorf("%w: --for must be a time, 24h for instance", errUsage)
			}
			return changeDead(cmd, place, args, every, "retried", func(e outbox.Entry) (outbox.Settlement, string) {
				now := time.Now()
				if !now.Before(e.GoodUntil) {
					return outbox.Settlement{}, "its stamp was good until " + clock(e.GoodUntil)
				}
				until := now.Add(period)
				if until.After(e.GoodUntil) {
					until = e.GoodUntil
				}
				return outbox.Settlement{Status: outbox.Waiting, Expires: until.UTC()}, ""
			})
		},
	}
	place.flags(cmd)
	cmd.Flags().BoolVar(&every, "all", false, "all dead requests")
	cmd.Flags().DurationVar(&period, "for", 24*time.Hour, "how long they may wait now; never longer than their stamps are good")
	return cmd
}

func newOutboxDropCommand() *cobra.Command {
	var place outboxPlace
	var every bool
	cmd := &cobra.Command{
		Use:   "drop [ID]...",
		Short: "Give dead requests up for good",
		Long: `Give dead requests up: what they carried is removed. Their callers find them
dropped, for a week, and may ask again.`,
		Example: `  kong-prefect outbox drop --outbox /var/lib/kong-prefect/outbox.db 6f2d7bb3-6b4f-5d6c-9a51-0d3e3a9b7c11
  kong-prefect outbox drop --outbox /var/lib/kong-prefect/outbox.db --all`,
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeDead(cmd, place, args, every, "dropped", func(e outbox.Entry) (outbox.Settlement, string) {
				return outbox.Settlement{Status: outbox.Dropped, At: time.Now(), Reason: e.Reason, Detail: e.Detail}, ""
			})
		},
	}
	place.flags(cmd)
	cmd.Flags().BoolVar(&every, "all", false, "all dead requests")
	return cmd
}

// changeDead changes dead entries, each on its own, and says what became of
// each. why is why an entry can't be changed.
func changeDead(cmd *cobra.Command, place outboxPlace, args []string, every bool, done string, change func(outbox.Entry) (s outbox.Settlement, why string)) error {
	if every == (len(args) > 0) {
		return fmt.Errorf("%w: give ids, or --all", errUsage)
	}
	ids := make([]uuid.UUID, len(args))
	for i, text := range args {
		var err error
		if ids[i], err = uuid.Parse(text); err != nil {
			return fmt.Errorf("%w: %q is no id; kong-prefect outbox list shows them", errUsage, text)
		}
	}
	ctx := cmd.Context()
	return withOutbox(place, func(s outbox.Store) error {
		if every {
			dead, err := s.List(ctx, outbox.Dead, 1_000_000)
			if err != nil {
				return err
			}
			for _, e := range dead {
				ids = append(ids, e.ID)
			}
		}
		t := screenOf(cmd.OutOrStdout()).table()
		left := 0
		for _, id := range ids {
			why, err := changeOne(ctx, s, id, change)
			if err != nil {
				return errors.Join(err, t.print())
			}
			if why != "" {
				left++
				t.row(id, painted{bad, "not " + done}, why)
			} else {
				t.row(id, painted{good, done})
			}
		}
		err := t.print()
		if err == nil && left > 0 {
			err = fmt.Errorf("%w: %d of %d requests were not %s", errFound, left, len(ids), done)
		}
		return err
	})
}

func changeOne(ctx context.Context, s outbox.Store, id uuid.UUID, change func(outbox.Entry) (outbox.Settlement, string)) (why string, err error) {
	e, err := s.Entry(ctx, id)
	if errors.Is(err, outbox.ErrUnknown) {
		return "there is no such request", nil
	}
	if err != nil {
		return "", err
	}
	if e.Status != outbox.Dead {
		return "it is " + string(e.Status), nil
	}
	to, why := change(e)
	if why != "" {
		return why, nil
	}
	err = s.Settle(ctx, id, outbox.Dead, to)
	if errors.Is(err, outbox.ErrChanged) || errors.Is(err, outbox.ErrUnknown) {
		return "it has changed meanwhile", nil
	}
	return "", err
}
