package guard

import (
	"slices"

	"github.com/kong-prefect/kong-prefect/policy"
)

// Permissions that no line of the table names alone: a body may need them.
const (
	// PermissionChangeRuns is to cancel, retry and pause any run, not only
	// those that the caller started.
	PermissionChangeRuns = "change_flow_runs"
	// PermissionExecuteRuns is to report what a run does: its states, logs,
	// tasks and results. Who holds it can make a run look like anything.
	PermissionExecuteRuns = "execute_runs"
	// PermissionOverrideRuns is to start a run with another command, queue or
	// infrastructure than its deployment has.
	PermissionOverrideRuns = "override_runs"
	// PermissionRunDeployments is to start runs.
	PermissionRunDeployments = "run_deployments"
	// PermissionBlockSecrets is to read what blocks hide.
	PermissionBlockSecrets = "read_block_secrets"
	// PermissionBulkEverything is to give a bulk operation no filter, which
	// means everything. No role has it: it is given by name.
	PermissionBulkEverything = "bulk_everything"
)

// viewer sees what runs, and nothing that blocks or variables hold.
var viewer = []string{
	"connect", "see_settings", "see_flows", "see_flow_runs", "see_deployments", "see_work_pools", "see_artifacts",
	"see_events", "see_automations", "see_concurrency_limits", "see_block_types", "see_saved_searches",
}

// runner starts runs, and controls those they started.
var runner = join(viewer, PermissionRunDeployments, "control_flow_runs")

// developer deploys, and may run flows on their own machine: a flow that runs
// anywhere reports its own states.
var developer = join(runner, PermissionChangeRuns, PermissionExecuteRuns, PermissionOverrideRuns, "emit_events",
	"manage_flows", "manage_flow_runs", "manage_deployments", "manage_work_pools", "manage_artifacts", "manage_automations",
	"manage_concurrency_limits", "manage_saved_searches", "manage_block_types",
	"see_blocks", "manage_blocks", PermissionBlockSecrets, "see_variables", "manage_variables")

// worker polls and executes; its flows read blocks and variables. A flow that
// starts further deployments needs the runner's role too.
var worker = []string{
	"connect", "see_settings", "see_flows", "see_flow_runs", "see_deployments", "see_work_pools", "see_artifacts",
	"see_events", // it hears there that a run is to be cancelled
	"see_concurrency_limits", "see_block_types", "see_blocks", PermissionBlockSecrets, "see_variables",
	PermissionExecuteRuns, "control_flow_runs", "poll_work_pools", "emit_events",
}

// owner is a developer who may change the server too. To poll a work pool is
// the worker's alone.
var owner = join(developer, "manage_settings")

// rolePermissions are the permissions of the roles that need no configuration,
// by Prefect Cloud's meaning.
// Source: Prefect Cloud's documentation, "Manage workspace access".
var rolePermissions = map[string][]string{
	policy.Viewer:    viewer,
	policy.Runner:    runner,
	policy.Developer: developer,
	policy.Worker:    worker,
	policy.Owner:     owner,
}

// BuiltinRoles are the roles that need no configuration, the least first.
func BuiltinRoles() []string {
	return []string{policy.Viewer, policy.Runner, policy.Developer, policy.Worker, policy.Owner}
}

// RolePermissions gives a built-in role's permissions.
func RolePermissions(role string) []string { return slices.Clone(rolePermissions[role]) }

// Permissions are all there are, sorted.
func Permissions() []string {
	all := []string{PermissionBulkEverything, PermissionBlockSecrets, PermissionOverrideRuns, PermissionChangeRuns}
	for _, r := range routes {
		all = append(all, r.Permission)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func join(role []string, more ...string) []string { return append(slices.Clone(role), more...) }
