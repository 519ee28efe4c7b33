package explain

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/token"
)

// verdict says how the way ended, by what the plugins noted and answered.
func (x *explaining) verdict(answered string) Verdict {
	switch p := x.way.Problem; {
	case x.way.Repeated != uuid.Nil:
		return Verdict{Outcome: Repeats, Plugin: answered, Status: http.StatusOK, Run: x.way.Repeated.String()}
	case p != nil && prefectclient.ReasonOf(p.Cause) == prefectclient.ReasonWithheld:
		return x.withheld(answered)
	case p != nil && x.Offline && undecided(p.Code):
		return Verdict{Outcome: Unknown, Plugin: answered, Cause: p.Sentence() + " (" + p.Code + ", because nobody was asked)"}
	case p != nil && x.durable && slices.Contains([]string{plugin.CodePrefectUnavailable, plugin.CodePrefectBusy, plugin.CodeOutcomeUnknown}, p.Code):
		return Verdict{Outcome: Unknown, Plugin: answered, Cause: "Prefect is away (" + p.Code + "): the route is durable, and the gateway accepts the request with 202 if it knows the deployment"}
	case p != nil:
		v := Verdict{Outcome: Refused, Plugin: answered, Status: p.Status(), Code: p.Code, Says: p.Sentence(), Violations: p.Violations}
		if p.Cause != nil {
			v.Cause = p.Cause.Error()
		}
		return v
	case x.kong.Answer != nil:
		return x.answer(answered)
	}
	v := Verdict{Outcome: Passes}
	if x.way.Outcome != nil {
		v.Plugin = plugin.GuardName
		v.Request = &Request{Method: x.Method, URL: x.match.UpstreamURI, Body: raw(x.way.Outcome.Body)}
	}
	return v
}

// withheld says what was kept back from Prefect last: the plugin stopped there.
func (x *explaining) withheld(answered string) Verdict {
	if len(x.kept) == 0 {
		return Verdict{Outcome: Unknown, Plugin: answered}
	}
	last := x.kept[len(x.kept)-1]
	if !last.Changes {
		return Verdict{Outcome: Unknown, Plugin: answered, Cause: "Prefect wasn't asked: what it says of " + last.URL + " decides"}
	}
	v := Verdict{Outcome: Changes, Plugin: answered, Request: &Request{last.Method, last.URL, last.Header, raw(last.Body)}}
	if x.way.Run != nil {
		v.Outcome, v.Status = Starts, http.StatusCreated
		v.Request.Body = withoutSignature(last.Body)
	}
	return v
}

// answer is a plugin's own, and one of the server's where a plugin failed.
func (x *explaining) answer(answered string) Verdict {
	a := x.kong.Answer
	v := Verdict{Outcome: Answers, Plugin: answered, Status: a.Status}
	var problem struct{ Code, Detail string }
	if a.Status >= http.StatusBadRequest && json.Unmarshal(a.Body, &problem) == nil && problem.Code != "" {
		v.Outcome, v.Code, v.Says = Refused, problem.Code, problem.Detail
	}
	return v
}

// undecided are refusals that only say that nobody was asked.
func undecided(code string) bool {
	return slices.Contains([]string{token.ReasonKeysUnavailable, token.ReasonIntrospectionUnavailable}, code)
}

func raw(body []byte) json.RawMessage {
	if !json.Valid(body) {
		return nil
	}
	return body
}

// withoutSignature leaves the signed stamp out of what is shown: the key that
// made it is nobody's.
func withoutSignature(body []byte) json.RawMessage {
	var b map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&b) != nil {
		return nil
	}
	if c, ok := b["context"].(map[string]any); ok {
		if written, ok := c["kong_prefect"].(map[string]any); ok {
			written["stamp"] = "(signed by the gateway)"
		}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil
	}
	return data
}
