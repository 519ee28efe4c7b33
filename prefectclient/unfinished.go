package prefectclient

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// clockSkew is how far the server's clock may be ahead of this one.
const clockSkew = time.Minute

// UnfinishedRuns counts the runs of a deployment that haven't ended, by
// Prefect's own state, without those that are scheduled for later. createdBy
// is the creator whose runs count; the zero UUID: everybody's.
func (c *Client) UnfinishedRuns(ctx context.Context, deploymentID, createdBy uuid.UUID) (int, error) {
	if deploymentID == uuid.Nil {
		// An empty criterion would match every run.
		return 0, &Error{Op: "count runs", Reason: ReasonRequestInvalid, Detail: "a deployment id is required"}
	}
	filter := map[string]any{
		"deployment_id":       anyOf(deploymentID.String()),
		"state":               map[string]any{"type": map[string]any{"not_any_": finalStates}},
		"expected_start_time": map[string]any{"before_": time.Now().UTC().Add(clockSkew)},
	}
	if createdBy != uuid.Nil {
		filter["created_by"] = map[string]any{"id_": []uuid.UUID{createdBy}}
	}
	var count int
	err := c.Query(ctx, "/flow_runs/count", map[string]any{"flow_runs": filter}, &count)
	return count, err
}
