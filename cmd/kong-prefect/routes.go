package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/guard"
)

func newRoutesCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Print Prefect's operations and who may call them",
		Long: `Print every operation of Prefect's API that prefect-guard lets through: the
permission it needs, the rule for its body, how a limited caller is kept to
their deployments, and which of the built-in roles may call it. An operation
that isn't here is refused.`,
		Example: "  kong-prefect routes\n  kong-prefect routes --role runner",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role != "" && !slices.Contains(guard.BuiltinRoles(), role) {
				return fmt.Errorf("%w: --role must be one of %s", errUsage, strings.Join(guard.BuiltinRoles(), ", "))
			}
			return printRoutes(cmd.OutOrStdout(), role)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "only what this built-in role may call")
	return cmd
}

func printRoutes(out io.Writer, role string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "METHOD\tPATH\tPERMISSION\tBODY\tLIMIT\tROLES")
	for _, r := range guard.Routes() {
		roles := rolesThatHold(r.Permission)
		if role != "" && !slices.Contains(roles, role) {
			continue
		}
		body := r.Body
		if body == "" {
			body = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Method, r.Path, r.Permission, body, r.Limit, strings.Join(roles, ","))
	}
	return w.Flush()
}

func rolesThatHold(permission string) (roles []string) {
	for _, role := range guard.BuiltinRoles() {
		if slices.Contains(guard.RolePermissions(role), permission) {
			roles = append(roles, role)
		}
	}
	return roles
}
