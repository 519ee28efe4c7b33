// Command kong-prefect is Kong's plugin server for the plugins of package
// plugin, and the tool of those who operate it. Each command is one file;
// `kong-prefect help` lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// Exit codes, the same for every command.
const (
	exitFound   = 1 // the command worked, and what it examined is not in order
	exitUsage   = 2 // the command line is wrong
	exitTrouble = 3 // the command could not do its work
)

// errFound is in errors that say what an examination found.
var errFound = errors.New("not in order")

// errUsage is in errors that say what is wrong with the command line.
var errUsage = errors.New("wrong command line")

const about = `kong-prefect is Kong's plugin server for prefect-identity, prefect-trigger and
prefect-guard, and the tool of those who operate it.

Kong itself calls "serve" and "dump", by its pluginserver settings.`

// The groups in which help lists the commands: each command names one.
const (
	groupBefore  = "before"
	groupRunning = "running"
	groupKong    = "kong"
)

var groups = []*cobra.Group{
	{ID: groupBefore, Title: "Before a rollout:"},
	{ID: groupRunning, Title: "While it runs:"},
	{ID: groupKong, Title: "What Kong calls:"},
}

const exitCodes = `
Exit codes: 0 all is well, 1 what was examined is not in order,
2 wrong command line, 3 the command could not do its work.
`

func main() {
	os.Exit(exitCode(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := newRootCommand()
	root.SetArgs(append([]string{}, args...)) // nil would be the process's own
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kong-prefect",
		Short:         "Kong's plugin server for Prefect, and its operator's tool",
		Long:          about,
		Version:       plugin.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetUsageTemplate(root.UsageTemplate() + exitCodes)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w", errUsage, err)
	})
	root.AddGroup(groups...)
	holds(root,
		newAuditCommand(),
		newCheckCommand(),
		newServeCommand(),
		newDoctorCommand(),
		newDumpCommand(),
		newExplainCommand(),
		newReplayCommand(),
		newRoutesCommand(),
		newVerifyRunCommand(),
		newOutboxCommand(),
		newVersionCommand(),
	)
	return root
}

// holds makes a command that does nothing itself, and has others below it.
func holds(parent *cobra.Command, commands ...*cobra.Command) {
	parent.AddCommand(commands...)
	parent.SuggestionsMinimumDistance = 2
	parent.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := fmt.Errorf("%w: unknown command %q for %q", errUsage, args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err = fmt.Errorf("%w; is it %s?", err, strings.Join(near, " or "))
		}
		return err
	}
	parent.RunE = func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, c := range commands {
			names = append(names, c.Name())
		}
		return fmt.Errorf("%w: no command given; %s has %s", errUsage, cmd.CommandPath(), strings.Join(names, ", "))
	}
}

// usageArgs makes what cobra says of arguments a wrong command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		return nil
	}
}

// exitCode tells what went wrong and with which code to end.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s %v\n", screenOf(stderr).paint(bad, "kong-prefect:"), err)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, `"kong-prefect help" shows what there is, "kong-prefect help COMMAND" how it is called.`)
		return exitUsage
	case errors.Is(err, errFound):
		return exitFound
	default:
		return exitTrouble
	}
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  kong-prefect version",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), plugin.Version)
			return err
		},
	}
}
