package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/guard"
)

func newRoutesCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:     "routes",
		GroupID: groupBefore,
		Short:   "Print Prefect's operations and who may call them",
		Long: `Print every operation of Prefect's API that prefect-guard lets through: the
permission it needs, the rule for its body, how a limited caller is kept to
their deployments, and which of the built-in roles may call it. An operation
that isn't here is refused.`,
		Example: "  kong-prefect routes\n  kong-prefect routes --role runner",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role != "" && !slices.Contains(guard.BuiltinRoles(), role) {
				return fmt.Errorf("%w: --role must be one of %s", errUsage, oneOf(guard.BuiltinRoles()))
			}
			return printRoutes(cmd.OutOrStdout(), role)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "only what this built-in role may call")
	completeFlag(cmd, "role", guard.BuiltinRoles())
	return cmd
}

func printRoutes(out io.Writer, role string) error {
	t := screenOf(out).table("METHOD", "PATH", "PERMISSION", "BODY", "LIMIT", "ROLES")
	for _, r := range guard.Routes() {
		roles := rolesThatHold(r.Permission)
		if role != "" && !slices.Contains(roles, role) {
			continue
		}
		body := r.Body
		if body == "" {
			body = "-"
		}
		t.row(r.Method, r.Path, r.Permission, body, r.Limit, strings.Join(roles, ","))
	}
	return t.print()
}

func rolesThatHold(permission string) (roles []string) {
	for _, role := range guard.BuiltinRoles() {
		if slices.Contains(guard.RolePermissions(role), permission) {
			roles = append(roles, role)
		}
	}
	return roles
}
