package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/Kong/go-pdk"
	pdkserver "github.com/Kong/go-pdk/server"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// The servers that are compared. Their plugins make the same calls: half of
// them, rounded up, ask for an nginx variable, the others clear a header.

func reads(calls int) int { return (calls + 1) / 2 }

// ownSocket is where go-pdk's server listens, and so the others: named after
// the binary, in the folder of -kong-prefix.
func ownSocket() string {
	return filepath.Join(os.Args[2], filepath.Base(os.Args[0])+".socket")
}

// callsName is our plugin with so many calls: it declares what it reads.
func callsName(calls int) string { return fmt.Sprintf("calls-%d", calls) }

// serveOurs hosts a plugin for each number of calls.
func serveOurs() error {
	var plugins []*pluginserver.Plugin
	for _, n := range callCounts {
		p := &pluginserver.Plugin{Name: callsName(n), Compile: func([]byte) pluginserver.Handler { return ourCalls(n) }}
		for i := range reads(n) {
			p.Reads = append(p.Reads, pluginserver.ReadVar(variable(i)))
		}
		plugins = append(plugins, p)
	}
	s, err := pluginserver.New(pluginserver.Options{Plugins: plugins})
	if err != nil {
		return err
	}
	l, err := pluginserver.Listen(ownSocket())
	if err != nil {
		return err
	}
	return s.Serve(context.Background(), l, time.Second)
}

func variable(i int) string { return fmt.Sprintf("variable_%d", i) }

type ourCalls int

// Access makes the calls.
func (n ourCalls) Access(ctx context.Context, e *pluginserver.Event) {
	for i := range reads(int(n)) {
		if _, err := e.Var(ctx, variable(i)); err != nil {
			panic(err)
		}
	}
	for range int(n) - reads(int(n)) {
		e.ClearHeader("x-header")
	}
}

// goPDKCalls is the plugin's configuration, as go-pdk wants it.
type goPDKCalls struct {
	Calls int `json:"calls"`
}

// Access makes the calls.
func (c *goPDKCalls) Access(kong *pdk.PDK) {
	for i := range reads(c.Calls) {
		if _, err := kong.Nginx.GetVar(variable(i)); err != nil {
			panic(err)
		}
	}
	for range c.Calls - reads(c.Calls) {
		if err := kong.ServiceRequest.ClearHeader("x-header"); err != nil {
			panic(err)
		}
	}
}

func serveGoPDK() error {
	return pdkserver.StartServer(func() any { return new(goPDKCalls) }, "1.0.0", 1)
}
