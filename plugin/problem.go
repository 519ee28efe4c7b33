package plugin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/token"
)

// Problem is a refusal: the answer the caller gets (RFC 9457) and the line the
// operator gets. This file is the one place where a reason becomes an answer.
//
// What is withheld from the caller: why a key set, a configuration or Prefect
// failed, and which roles a route allows. The operator's line has it all.
type Problem struct {
	// Code is the stable reason: the same in answer, log, audit and metric.
	Code string
	// Detail completes the code's own sentence for this case. The caller
	// sees it.
	Detail string
	// Violations are the parameters that are wrong, each with a JSON pointer
	// (RFC 6901) into the request's body.
	Violations []Violation
	// Permission is the one that the caller lacks, where one would help.
	Permission string
	// Allow are the methods there are, where another was used.
	Allow string
	// Headers are further ones of the answer.
	Headers []pluginserver.Header
	// RetryAfter, where set, goes into the header of that name.
	RetryAfter time.Duration
	// DPoP says that the token came with the DPoP scheme, so the challenge is
	// of that scheme (RFC 9449, section 7.1).
	DPoP bool
	// ResourceMetadata is where the gateway describes itself to clients; it is
	// named in the challenge (RFC 9728, section 5.1).
	ResourceMetadata string
	// Cause is for the operator alone.
	Cause error
}

// Violation is one thing wrong in the request's body.
type Violation struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
	// Code is the violation's own reason.
	Code string `json:"code"`
}

// problemBase is where each code is explained: docs/problems.md.
const problemBase = "https://github.com/kong-prefect/kong-prefect/blob/main/docs/problems.md#"

// kind is what all refusals with one code have in common.
type kind struct {
	status int
	// detail tells the caller what is wrong and what to do.
	detail string
	// challenge is the error code of RFC 6750, section 3.1; "-" is a
	// challenge without one, as for a request without a token.
	challenge string
	// level of the operator's line. Refusals that any client can cause at
	// will stay below Kong's default level.
	level string
}

// Answer makes the problem's HTTP answer.
func (p *Problem) Answer(realm string) pluginserver.Answer {
	k := kindOf(p.Code)
	body := map[string]any{
		"type":   problemBase + p.Code,
		"title":  http.StatusText(k.status),
		"status": k.status,
		"code":   p.Code,
		"detail": p.sentence(k),
	}
	if p.Permission != "" {
		body["permission"] = p.Permission
	}
	if len(p.Violations) > 0 {
		body["violations"] = p.Violations
	}
	data, err := json.Marshal(body)
	if err != nil {
		data = []byte(`{"code":"` + p.Code + `"}`)
	}
	headers := []pluginserver.Header{header("Content-Type", "application/problem+json"), header("Cache-Control", "no-store")}
	if k.challenge != "" {
		headers = append(headers, header("WWW-Authenticate", p.challenge(realm, k)))
	}
	if p.RetryAfter > 0 {
		headers = append(headers, header("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds())))))
	}
	if p.Allow != "" {
		headers = append(headers, header("Allow", p.Allow))
	}
	return pluginserver.Answer{Status: k.status, Body: append(data, '\n'), Headers: append(headers, p.Headers...)}
}

// Line is what the operator reads.
func (p *Problem) Line(requestID string) (level, line string) {
	k := kindOf(p.Code)
	line = fmt.Sprintf("refused: code=%s status=%d request_id=%s", p.Code, k.status, requestID)
	if p.Detail != "" {
		line += fmt.Sprintf(" detail=%q", p.Detail)
	}
	if p.Cause != nil {
		line += fmt.Sprintf(" cause=%q", p.Cause.Error())
	}
	return k.level, line
}

func (p *Problem) sentence(k kind) string {
	if p.Detail == "" {
		return k.detail
	}
	return k.detail + " " + p.Detail
}

func header(name, value string) pluginserver.Header {
	return pluginserver.Header{Name: name, Values: []string{value}}
}

// challenge is one WWW-Authenticate value: Kong sends only the last of
// several. RFC 6750, section 3, allows %x20-21 / %x23-5B / %x5D-7E in
// error_description.
func (p *Problem) challenge(realm string, k kind) string {
	scheme, code := "Bearer", k.challenge
	if p.DPoP {
		scheme = "DPoP"
		if proofCodes[p.Code] {
			code = invalidProof
		}
	}
	c := scheme + ` realm="` + quotable(realm) + `"`
	if code != "-" {
		c += `, error="` + code + `", error_description="` + quotable(p.sentence(k)) + `"`
	}
	if p.ResourceMetadata != "" {
		c += `, resource_metadata="` + quotable(p.ResourceMetadata) + `"`
	}
	if p.DPoP {
		c += `, algs="` + strings.Join(token.DefaultAlgorithms, " ") + `"`
	}
	return c
}

func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}, s)
}
