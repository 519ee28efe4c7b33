package claims

import (
	"fmt"
	"slices"
	"strings"
)

// reader reads claims by name or pointer and collects what it can't read.
type reader struct {
	claims   map[string]any
	problems []error
}

func (r *reader) fail(claim, why string) {
	r.problems = append(r.problems, fmt.Errorf("%w: %s %s", ErrInvalid, claim, why))
}

// pointerEscapes: RFC 6901, section 4.
var pointerEscapes = strings.NewReplacer("~1", "/", "~0", "~")

// lookup finds a claim; null counts as absent.
func (r *reader) lookup(claim string) (any, bool) {
	if !strings.HasPrefix(claim, "/") {
		v := r.claims[claim]
		return v, v != nil
	}
	var at any = r.claims
	for _, token := range strings.Split(claim[1:], "/") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		at = object[pointerEscapes.Replace(token)]
	}
	return at, at != nil
}

// first gives the text of the first claim that is present.
func (r *reader) first(claims []string) string {
	for _, claim := range claims {
		v, ok := r.lookup(claim)
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok {
			r.fail(claim, "must be a string")
		}
		return s
	}
	return ""
}

// all gathers the values of several claims, each once.
func (r *reader) all(claims []string, read func(claim string, v any) []string) []string {
	var values []string
	for _, claim := range claims {
		v, ok := r.lookup(claim)
		if !ok {
			continue
		}
		for _, s := range read(claim, v) {
			if len(values) == MaxGroups {
				r.fail(claim, fmt.Sprintf("has more than %d values; let the provider send only the groups this gateway needs", MaxGroups))
				return values
			}
			if !slices.Contains(values, s) {
				values = append(values, s)
			}
		}
	}
	return values
}

// list reads a list of strings; one string is a list of one, commas and all.
func (r *reader) list(claim string, v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		values := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				r.fail(claim, "must be a list of strings")
				return nil
			}
			values = append(values, s)
		}
		return values
	default:
		r.fail(claim, "must be a list of strings")
		return nil
	}
}

// words reads scopes: separated by spaces in a string (RFC 6749, section
// 3.3), or a list as some providers send it.
func (r *reader) words(claim string, v any) []string {
	if s, ok := v.(string); ok {
		return strings.Fields(s)
	}
	return r.list(claim, v)
}

// verifiedEmail reports whether the provider stands by the address: it says
// so, or says nothing.
func (r *reader) verifiedEmail() bool {
	v, present := r.lookup("email_verified")
	return !present || v == true
}

// actors reads the act claim, the nearest actor first (RFC 8693, section 4.1).
func (r *reader) actors() []Actor {
	var actors []Actor
	v, present := r.lookup("act")
	for present {
		act, ok := v.(map[string]any)
		if !ok {
			r.fail("act", "must be an object")
			return nil
		}
		if len(actors) == MaxActors {
			r.fail("act", fmt.Sprintf("names more than %d actors", MaxActors))
			return nil
		}
		at := reader{claims: act}
		actor := Actor{Subject: at.first([]string{"sub"}), Issuer: at.first([]string{"iss"}), Client: at.first([]string{"client_id", "azp"})}
		if actor.Subject == "" && actor.Client == "" || len(at.problems) > 0 {
			r.fail("act", "must name each actor by sub or client_id, as strings")
			return nil
		}
		actors = append(actors, actor)
		v, present = at.lookup("act")
	}
	return actors
}
