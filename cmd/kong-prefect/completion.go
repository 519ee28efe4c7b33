package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// pluginNames are those that the process hosts.
var pluginNames = []string{plugin.IdentityName, plugin.TriggerName, plugin.GuardName}

// one completes a command's only argument from a list.
func one(values []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

// aDirectory completes a command's only argument with folders.
func aDirectory(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// aFile completes a command's only argument with files of these endings.
func aFile(endings ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// noFiles completes nothing: an argument that only the user knows.
var noFiles = one(nil)

// completeFlag offers values for a flag. A flag that isn't there is a mistake
// of ours, which the first start finds.
func completeFlag(cmd *cobra.Command, name string, values []string) {
	must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// fileFlag offers files with one of these endings for a flag.
func fileFlag(cmd *cobra.Command, name string, endings ...string) {
	must(cmd.MarkFlagFilename(name, endings...))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// auditTypes are the types of record as --type takes them.
func auditTypes() (names []string) {
	for _, t := range audit.Types {
		names = append(names, string(t))
	}
	return names
}

// oneOf writes a list into a message.
func oneOf(values []string) string { return strings.Join(values, ", ") }
