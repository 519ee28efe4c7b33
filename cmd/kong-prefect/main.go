// Command kong-prefect is Kong's plugin server for prefect-identity and
// prefect-trigger.
//
//	kong-prefect serve --kong-prefix DIR    run the plugins, on DIR/kong-prefect.socket
//	kong-prefect serve --socket PATH        run the plugins, on a socket of your choice
//	kong-prefect dump PLUGIN                describe a plugin, for Kong's query_cmd
//	kong-prefect version
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

const usage = `kong-prefect is Kong's plugin server for prefect-identity and prefect-trigger.

  kong-prefect serve --kong-prefix DIR    run the plugins, on DIR/kong-prefect.socket
  kong-prefect serve --socket PATH        run the plugins, on a socket of your choice
  kong-prefect dump PLUGIN                describe a plugin, for Kong's query_cmd
  kong-prefect version
`

// socketName is the socket's file in Kong's prefix.
const socketName = "kong-prefect.socket"

// errUsage is for exit status 2: the command line is wrong.
var errUsage = errors.New("usage")

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "kong-prefect: %v\n\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "kong-prefect: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command given", errUsage)
	}
	switch command, rest := args[0], args[1:]; command {
	case "serve":
		return serve(rest, stderr)
	case "dump":
		return dump(rest, stdout)
	case "version":
		_, err := fmt.Fprintln(stdout, plugin.Version)
		return err
	case "help", "-h", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	default:
		return fmt.Errorf("%w: unknown command %q", errUsage, command)
	}
}

func dump(args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: dump takes the name of one plugin", errUsage)
	}
	process := plugin.NewProcess(slog.New(slog.DiscardHandler))
	defer process.Close()
	var names []string
	for _, p := range process.Plugins() {
		if p.Name == args[0] {
			return pluginserver.Dump(stdout, p)
		}
		names = append(names, p.Name)
	}
	return fmt.Errorf("%w: there is no plugin %q; there are: %s", errUsage, args[0], strings.Join(names, ", "))
}

func serve(args []string, stderr io.Writer) error {
	path, drain, err := serveFlags(args)
	if err != nil {
		return err
	}
	// The socket comes first: Kong's workers look for it at once.
	listener, err := pluginserver.Listen(path)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	process := plugin.NewProcess(log)
	defer process.Close()
	server, err := pluginserver.New(pluginserver.Options{
		Plugins: process.Plugins(), Log: log, Refusal: plugin.Refusal,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log.Info("serving", "socket", path, "version", plugin.Version)
	return server.Serve(ctx, listener, drain)
}

func serveFlags(args []string) (socket string, drain time.Duration, err error) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	prefix := flags.String("kong-prefix", "", "Kong's prefix directory")
	path := flags.String("socket", "", "path of the socket")
	flags.DurationVar(&drain, "drain", 55*time.Second, "how long running requests may take after SIGTERM")
	if err := flags.Parse(args); err != nil {
		return "", 0, fmt.Errorf("%w: %w", errUsage, err)
	}
	switch {
	case flags.NArg() > 0:
		return "", 0, fmt.Errorf("%w: serve takes no argument %q", errUsage, flags.Arg(0))
	case (*prefix == "") == (*path == ""):
		return "", 0, fmt.Errorf("%w: serve needs one of --kong-prefix and --socket", errUsage)
	case *path != "":
		return *path, drain, nil
	default:
		return filepath.Join(*prefix, socketName), drain, nil
	}
}
