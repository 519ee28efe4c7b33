package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

func newDumpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "dump PLUGIN",
		GroupID: groupKong,
		Short:   "Describe a plugin, for Kong's query_cmd",
		Long: `Describe a plugin as Kong wants it: name, version, priority, phases and the
schema of its configuration. Kong runs this at its start, by the setting
pluginserver_NAME_query_cmd.`,
		Example:           "  kong-prefect dump prefect-trigger",
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: one(pluginNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return dump(cmd.OutOrStdout(), args[0])
		},
	}
}

func dump(out io.Writer, name string) error {
	process := plugin.NewProcess(slog.New(slog.DiscardHandler))
	defer process.Close()
	for _, p := range process.Plugins() {
		if p.Name == name {
			return pluginserver.Dump(out, p)
		}
	}
	return fmt.Errorf("%w: there is no plugin %q; there are %s", errUsage, name, oneOf(pluginNames))
}
