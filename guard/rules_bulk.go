package guard

import "slices"

// filterOf is the filter that a bulk route obeys.
func filterOf(path string) string {
	switch path {
	case "/flows/bulk_delete":
		return "flows"
	case "/deployments/bulk_delete":
		return "deployments"
	default:
		return "flow_runs"
	}
}

// bulk refuses a filter that names nothing: Prefect takes it for everything.
func bulk(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	name := filterOf(c.Route.Path)
	if names(o[name]) {
		return nil
	}
	if !c.has(PermissionBulkEverything) {
		return fieldNeeds("/"+name, PermissionBulkEverything, "a filter that doesn't name what it means, by id, name, tag or state, may mean everything")
	}
	return nil
}

// bulkState is POST /flow_runs/bulk_set_state.
func bulkState(c *check) error {
	if err := bulk(c); err != nil {
		return err
	}
	o, err := c.object()
	if err != nil {
		return err
	}
	return c.mayset(o, c.has(PermissionExecuteRuns))
}

// selecting are the fields of a filter whose lists name what is meant.
var selecting = []string{"id", "name", "tags", "deployment_id", "parent_flow_run_id", "idempotency_key", "created_by"}

// names tells whether a filter certainly leaves something out: it names
// things, and isn't widened by another condition.
func names(v any) bool {
	filter, ok := v.(map[string]any)
	if !ok || widened(filter) {
		return false
	}
	for _, f := range selecting {
		if lists(filter[f]) {
			return true
		}
	}
	state, ok := filter["state"].(map[string]any)
	return ok && !widened(state) && (lists(state["type"]) || lists(state["name"]))
}

func widened(filter map[string]any) bool {
	operator, there := filter["operator"]
	return there && operator != "and_" && operator != nil
}

// lists tells whether a condition has a list with something in it.
func lists(v any) bool {
	condition, ok := v.(map[string]any)
	if !ok || widened(condition) {
		return false
	}
	return slices.ContainsFunc([]string{"any_", "all_", "id_"}, func(name string) bool {
		l, ok := condition[name].([]any)
		return ok && len(l) > 0
	})
}
