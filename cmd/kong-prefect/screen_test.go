package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		coloured bool
		want     string
	}{
		{"plain", false, "NAME      WHAT\nsvc?[31m  ok     grün\nx         WRONG  all\n"},
		{"coloured", true, "\x1b[1mNAME\x1b[0m      \x1b[1mWHAT\x1b[0m\nsvc?[31m  ok     grün\nx         \x1b[1;31mWRONG\x1b[0m  all\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			table := screen{&out, c.coloured}.table("NAME", "WHAT")
			table.row("svc\x1b[31m", "ok", "grün")
			table.row("x", painted{bad, "WRONG"}, "all")
			require.NoError(t, table.print())
			require.Equal(t, c.want, out.String())
		})
	}
}

func TestNothingButATerminalGetsColoursOrProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.False(t, screenOf(&out).coloured)
	p := progressOn(&out)
	p.at("record %d", 1)
	p.end()
	require.Empty(t, out.String())
}
