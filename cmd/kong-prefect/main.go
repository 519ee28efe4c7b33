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

const about = `kong-prefect is Kong's plugin server for prefect-identity and prefect-trigger,
and the tool of those who operate it.

Kong itself calls "serve" and "dump", by its pluginserver settings.`

const exitCodes = `
Exit codes: 0 all is well, 1 what was examined is not in order,
2 wrong command line, 3 the command could not do its work.
`

func main() {
	os.Exit(exitCode(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := newRootCommand()
	root.SetArgs(args)
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
		Args:          usageArgs(cobra.NoArgs),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("%w: no command given", errUsage)
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetUsageTemplate(root.UsageTemplate() + exitCodes)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w", errUsage, err)
	})
	root.AddCommand(
		newAuditCommand(),
		newServeCommand(),
		newDumpCommand(),
		newRoutesCommand(),
		newVerifyRunCommand(),
		newVersionCommand(),
	)
	return root
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
	fmt.Fprintf(stderr, "kong-prefect: %v\n", err)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, `"kong-prefect help" shows what there is.`)
		return exitUsage
	case errors.Is(err, errFound):
		return exitFound
	default:
		return exitTrouble
	}
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), plugin.Version)
			return err
		},
	}
}
