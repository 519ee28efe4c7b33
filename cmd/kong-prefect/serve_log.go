package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/logs"
)

// logOptions are the flags of the process's log.
type logOptions struct{ level, format, file string }

const logMode = 0o640

func (o *logOptions) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.level, "log-level", "info", "the least that is logged: debug, info, warn or error")
	flags.StringVar(&o.format, "log-format", "text", "text or json")
	flags.StringVar(&o.file, "log-file", "", "file that the log is appended to; default: standard error, which Kong logs at level info")
	for flag, values := range map[string][]cobra.Completion{"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"}} {
		must(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
	}
}

// open makes the log. close ends its file.
func (o *logOptions) open(stderr io.Writer) (l *logs.Log, closeFile func(), err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, nil, fmt.Errorf("%w: --log-level is debug, info, warn or error, not %q", errUsage, o.level)
	}
	if o.format != "text" && o.format != "json" {
		return nil, nil, fmt.Errorf("%w: --log-format is text or json, not %q", errUsage, o.format)
	}
	out, closeFile := stderr, func() {}
	if o.file != "" {
		// Appended to, so that two processes may, as at a reload of Kong, and
		// so that it may be cut from outside (logrotate's copytruncate).
		file, err := os.OpenFile(o.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, logMode)
		if err != nil {
			return nil, nil, fmt.Errorf("--log-file: %w", err)
		}
		out, closeFile = file, func() { _ = file.Close() }
	}
	return logs.New(logs.Options{Out: out, Level: level, JSON: o.format == "json"}), closeFile, nil
}
