package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var updatePages = flag.Bool("update-pages", false, "write the generated pages of docs/")

// walk gives every command of ours, each before those below it.
func walk(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = append(all, walk(c)...)
	}
	return all
}

func TestCommandsExplainThemselves(t *testing.T) {
	t.Parallel()
	root := newRootCommand()
	for _, c := range walk(root)[1:] {
		t.Run(c.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, c.Short)
			require.Equal(t, strings.ToUpper(c.Short[:1]), c.Short[:1], "Short begins with a capital")
			require.NotRegexp(t, `\.$`, c.Short, "Short ends without a full stop")
			for _, line := range strings.Split(c.Example, "\n") {
				require.Regexp(t, `^  `, line, "an example is indented")
			}
			require.Contains(t, c.Example, c.CommandPath(), "an example calls the command")
			if c.Parent() == root && c.Name() != "version" {
				require.NotEmpty(t, c.GroupID, "help lists commands by group")
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				require.NotEmpty(t, f.Usage, "--%s", f.Name)
				require.NotRegexp(t, `\.$`, f.Usage, "--%s: a phrase, no sentence", f.Name)
			})
			if f := c.Flags().Lookup("json"); f != nil {
				require.Regexp(t, `^print .*(JSON|as they are)`, f.Usage, "one flag with one meaning")
			}
		})
	}
}

// TestExamplesParse runs no example, and holds every one to the flags and the
// number of arguments that its command takes.
func TestExamplesParse(t *testing.T) {
	t.Parallel()
	for _, c := range walk(newRootCommand())[1:] {
		for _, line := range strings.Split(strings.ReplaceAll(c.Example, "\\\n", " "), "\n") {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " > ")
			words := strings.Fields(line[strings.LastIndexByte(line, '|')+1:])
			if len(words) == 0 || words[0] != "kong-prefect" {
				continue
			}
			root := newRootCommand()
			target, rest, err := root.Find(words[1:])
			require.NoError(t, err, line)
			require.NoError(t, target.ParseFlags(rest), line)
			require.NoError(t, target.ValidateArgs(target.Flags().Args()), line)
		}
	}
}

// TestCommandsPage holds docs/commands.md to the commands.
// go test ./cmd/kong-prefect -update-pages writes it.
func TestCommandsPage(t *testing.T) {
	t.Setenv("PREFECT_API_URL", "") // the default of a flag
	const path = "../../docs/commands.md"
	page := commandsPage()
	if *updatePages {
		require.NoError(t, os.WriteFile(path, []byte(page), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, page, string(have), "%s is out of date: go test ./cmd/kong-prefect -update-pages", path)
}

func commandsPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\nGenerated from the commands' own help.\n\n" + strings.TrimSpace(exitCodes) + `

Colours appear on a terminal alone, and never where NO_COLOR is set; so does progress, which goes to standard error. ` + "`--json` prints the same for machines." + `

Your shell completes commands, flags and their values once it knows them: ` + "`source <(kong-prefect completion bash)`" + `, or zsh, fish, powershell.
`)
	root := newRootCommand()
	for _, group := range append(slices.Clone(groups), &cobra.Group{Title: "Beside these:"}) {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID {
				for _, c := range walk(c) {
					writeCommand(&b, c)
				}
			}
		}
	}
	return b.String()
}

func writeCommand(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n### %s\n\n%s.\n", c.CommandPath(), c.Short)
	if c.Long != "" {
		fmt.Fprintf(b, "\n%s\n", c.Long)
	}
	fmt.Fprintf(b, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	if !c.HasAvailableLocalFlags() {
		return
	}
	b.WriteString("\n| flag | default | meaning |\n|---|---|---|\n")
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		value := ""
		if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" {
			value = "`" + f.DefValue + "`"
		}
		fmt.Fprintf(b, "| `--%s` | %s | %s |\n", f.Name, value, f.Usage)
	})
}

func TestEveryHelpNamesTheExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range walk(newRootCommand()) {
		var out bytes.Buffer
		words := append(strings.Fields(c.CommandPath())[1:], "--help")
		require.NoError(t, run(t.Context(), words, &out, io.Discard))
		require.Contains(t, out.String(), strings.TrimSpace(exitCodes), c.CommandPath())
	}
}

func TestNearMisses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typed, says string }{
		{"serv", "is it serve?"},
		{"audit verfy", "is it verify?"},
		{"audit", "audit has verify, query, report"},
	} {
		var stderr bytes.Buffer
		require.Equal(t, exitUsage, exitCode(run(t.Context(), strings.Fields(c.typed), io.Discard, io.Discard), &stderr))
		require.Contains(t, stderr.String(), c.says)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typed, offers string }{
		{"dump ", "prefect-guard"},
		{"routes --role ", "viewer"},
		{"audit query --type ", "run.created"},
		{"check ", "yml"},
		{"check kong.yml ", "yaml"},
		{"audit verify ", ":16"}, // folders
		{"verify-run ", ":4"},    // nothing
		{"au", "audit\tAsk the audit who ran what, and prove that it is complete"},
	} {
		var out bytes.Buffer
		words := append([]string{"__complete"}, strings.Split(c.typed, " ")...)
		require.NoError(t, run(t.Context(), words, &out, io.Discard))
		require.Contains(t, strings.Split(out.String(), "\n"), c.offers)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"completion", shell}, &out, io.Discard))
		require.Contains(t, out.String(), "kong-prefect")
	}
}
