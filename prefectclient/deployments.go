package prefectclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Deployment is a deployment as Prefect describes it.
type Deployment struct {
	ID     uuid.UUID `json:"id"`
	FlowID uuid.UUID `json:"flow_id"`
	Name   string    `json:"name"`
	// FlowName is set by DeploymentByName and Deployments only; Prefect's
	// answer lacks it.
	FlowName    string `json:"-"`
	Version     string `json:"version"`
	Description string `json:"description"`
	// Paused deployments accept runs all the same; only schedules stop.
	Paused bool `json:"paused"`
	// Status is "READY" when a worker or runner was seen lately.
	Status        string         `json:"status"`
	WorkPoolName  string         `json:"work_pool_name"`
	WorkQueueName string         `json:"work_queue_name"`
	Entrypoint    string         `json:"entrypoint"`
	Tags          []string       `json:"tags"`
	Labels        map[string]any `json:"labels"`
	// Parameters are the defaults. Numbers are json.Number.
	Parameters map[string]any `json:"parameters"`
	// ParameterSchema is the JSON schema of the parameters; nil: none.
	ParameterSchema json.RawMessage `json:"parameter_openapi_schema"`
	// EnforceParameterSchema says whether Prefect refuses parameters that do
	// not fit the schema.
	EnforceParameterSchema bool       `json:"enforce_parameter_schema"`
	Created                *time.Time `json:"created"`
	Updated                *time.Time `json:"updated"`
}

// DeploymentByName finds a deployment by its flow's name and its own.
func (c *Client) DeploymentByName(ctx context.Context, flow, deployment string) (Deployment, error) {
	const name = "find deployment"
	if err := errors.Join(checkName("flow", flow), checkName("deployment", deployment)); err != nil {
		return Deployment{}, &Error{Op: name, Reason: ReasonRequestInvalid, cause: err}
	}
	d, err := c.deployment(ctx, name, "/deployments/name/"+url.PathEscape(flow)+"/"+url.PathEscape(deployment))
	d.FlowName = flow
	if err != nil {
		return Deployment{}, err
	}
	return d, nil
}

// Deployment reads a deployment.
func (c *Client) Deployment(ctx context.Context, id uuid.UUID) (Deployment, error) {
	return c.deployment(ctx, "read deployment", "/deployments/"+id.String())
}

// Deployments lists all deployments, in the order of their names, without
// their schemas. A server with more than [MaxListed] is an error.
func (c *Client) Deployments(ctx context.Context) ([]Deployment, error) {
	var flows []struct {
		ID   uuid.UUID `json:"id"`
		Name string    `json:"name"`
	}
	var list []Deployment
	if err := errors.Join(QueryAll(ctx, c, "/flows/filter", "NAME_ASC", &flows), QueryAll(ctx, c, "/deployments/filter", "CREATED_DESC", &list)); err != nil {
		return nil, err
	}
	names := make(map[uuid.UUID]string, len(flows))
	for _, f := range flows {
		names[f.ID] = f.Name
	}
	for i := range list {
		list[i].FlowName = names[list[i].FlowID]
		list[i].ParameterSchema = nil
	}
	slices.SortStableFunc(list, func(a, b Deployment) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.FlowName, b.FlowName))
	})
	return list, nil
}

func (c *Client) deployment(ctx context.Context, name, path string) (Deployment, error) {
	var d Deployment
	err := c.call(ctx, &operation{
		name: name, method: http.MethodGet, path: path, notFound: ReasonDeploymentNotFound,
		decode: func(body []byte) error {
			// Servers older than the field enforce.
			d = Deployment{EnforceParameterSchema: true}
			if err := decode(body, &d); err != nil {
				return err
			}
			if d.ID == uuid.Nil || d.FlowID == uuid.Nil {
				return errors.New("not a deployment")
			}
			if string(d.ParameterSchema) == "null" {
				d.ParameterSchema = nil
			}
			return nil
		},
	})
	if err != nil {
		return Deployment{}, err
	}
	return d, nil
}

// checkName refuses names that Prefect does not allow. Escaped or not, they
// would name another path: the server routes a%2Fb as a/b.
func checkName(what, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/%&<>`) {
		return fmt.Errorf("%s name: empty, a dot path, or holds one of / %% & < >", what)
	}
	return nil
}

// decode reads one JSON value and keeps numbers exact. Its errors do not
// quote the value, which may hold parameters.
func decode(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return fmt.Errorf("unexpected type of %q", wrongType.Field)
		}
		return errors.New("not valid JSON")
	}
	if decoder.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}
