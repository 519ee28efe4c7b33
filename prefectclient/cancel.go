package prefectclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/google/uuid"
)

const cancelName = "cancel flow run"

// CancelFlowRun asks for a run's end and gives the state it has then:
// CANCELLING while somebody executes it, CANCELLED where nobody does yet, and
// the state it ended in where it has ended. Prefect itself decides, so a run
// that ends meanwhile keeps its end. message stands in the state, for people.
func (c *Client) CancelFlowRun(ctx context.Context, id uuid.UUID, message string) (State, error) {
	// Without force Prefect's own rules hold: no state follows a final one.
	body, err := json.Marshal(map[string]any{
		"state": map[string]any{"type": "CANCELLING", "name": "Cancelling", "message": message}, "force": false,
	})
	if err != nil {
		return State{}, &Error{Op: cancelName, Reason: ReasonRequestInvalid, cause: err}
	}
	// Asked twice it does what it does once, so a lost answer doesn't matter.
	var result struct {
		State  *State `json:"state"`
		Status string `json:"status"` // ACCEPT, REJECT or ABORT: the state tells more
	}
	err = c.call(ctx, &operation{
		name: cancelName, method: http.MethodPost, path: "/flow_runs/" + id.String() + "/set_state", body: body, notFound: ReasonNotFound,
		decode: func(answer []byte) error {
			result.State = nil
			if err := decode(answer, &result); err != nil {
				return err
			}
			if result.State == nil || result.State.Type == "" {
				return errors.New("no state")
			}
			return nil
		},
	})
	if err != nil {
		return State{}, err
	}
	return *result.State, nil
}
