package prefectclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"
)

// MaxRunStates is how many runs one call of [Client.RunStates] may ask for:
// Prefect's own limit of one answer.
const MaxRunStates = 200

// RunStates reads the states of runs. A run that the server doesn't have is
// not in the answer.
func (c *Client) RunStates(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]State, error) {
	const name = "read run states"
	if len(ids) == 0 {
		return nil, nil // an empty filter would match every run
	}
	if len(ids) > MaxRunStates {
		return nil, &Error{Op: name, Reason: ReasonRequestInvalid, Detail: fmt.Sprintf("at most %d runs at once", MaxRunStates)}
	}
	asked := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		asked[id] = true
	}
	var filter struct {
		Runs struct {
			ID struct {
				Any []uuid.UUID `json:"any_"`
			} `json:"id"`
		} `json:"flow_runs"`
		Limit int `json:"limit"`
	}
	filter.Runs.ID.Any, filter.Limit = ids, MaxRunStates
	body, err := json.Marshal(filter)
	if err != nil {
		return nil, &Error{Op: name, Reason: ReasonRequestInvalid, Detail: err.Error()}
	}
	var runs []FlowRun
	err = c.call(ctx, &operation{
		name: name, method: http.MethodPost, path: "/flow_runs/filter", body: body, notFound: ReasonNotFound,
		decode: func(body []byte) error {
			runs = nil
			return decode(body, &runs)
		},
	})
	if err != nil {
		return nil, err
	}
	states := make(map[uuid.UUID]State, len(runs))
	for _, run := range runs {
		if asked[run.ID] {
			states[run.ID] = run.State
		}
	}
	return states, nil
}
