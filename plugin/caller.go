package plugin

import (
	"context"
	"encoding/json"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/token"
)

// SharedIdentity is the key in kong.ctx.shared under which prefect-identity
// leaves the caller for the plugins after it. Clients can't write there, so
// it is believed, and no header ever is.
const SharedIdentity = "kong_prefect_identity"

// sharedGroups is where Kong's acl plugin looks for a caller's groups.
const sharedGroups = "authenticated_groups"

// Caller is what prefect-identity hands on: who calls, and their roles.
type Caller struct {
	Identity claims.Identity `json:"identity"`
	Roles    []string        `json:"roles,omitempty"`
	// Anonymous says that the request came without a token and passed as
	// the configuration's anonymous consumer: it has no identity.
	Anonymous bool `json:"anonymous,omitempty"`
}

// callerOf reads what prefect-identity left. Without an identity there is no
// caller, whatever else is there.
func callerOf(ctx context.Context, e *pluginserver.Event) (Caller, *Problem) {
	shared, ok, err := e.Shared(ctx, SharedIdentity)
	if err == nil && !ok {
		return Caller{}, &Problem{Code: CodeIdentityMissing}
	}
	var c Caller
	if err == nil {
		err = json.Unmarshal([]byte(shared), &c)
	}
	switch {
	case err == nil && c.Anonymous:
		return Caller{}, &Problem{Code: token.ReasonMissing}
	case err != nil || c.Identity.Subject == "" || c.Identity.Issuer == "":
		return Caller{}, &Problem{Code: CodeIdentityMissing, Cause: err}
	}
	return c, nil
}

// leave leaves the caller for the plugins that follow.
func (c Caller) leave(e *pluginserver.Event) error {
	shared, err := json.Marshal(c)
	if err != nil {
		return err
	}
	e.SetShared(SharedIdentity, string(shared))
	return nil
}
