package claims

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/token"
)

// Limits on what one token may bring. They bound the headers and the run
// context made of it.
const (
	MaxGroups = 1000 // also scopes
	MaxActors = 8
)

// ErrInvalid says that a claim can't be read as its preset expects. The
// provider or the preset is wrong, never only this request.
var ErrInvalid = errors.New("claim can't be used")

// Mapper maps the tokens of one issuer.
type Mapper struct {
	preset Preset
	agents map[string]bool
}

// NewMapper returns the mapper of a preset. Agents are the clients of this
// issuer that are AI agents.
func NewMapper(preset string, agents []string) (*Mapper, error) {
	p, ok := Presets[preset]
	if !ok {
		return nil, fmt.Errorf("preset %q is unknown; there are: %s", preset, strings.Join(PresetNames(), ", "))
	}
	m := &Mapper{preset: p, agents: map[string]bool{}}
	for _, client := range agents {
		m.agents[client] = true
	}
	return m, nil
}

// PresetNames lists the presets in alphabetical order.
func PresetNames() []string { return slices.Sorted(maps.Keys(Presets)) }

// Identity maps a verified token to its identity, or fails with [ErrInvalid].
func (m *Mapper) Identity(t token.Verified) (Identity, error) {
	r := reader{claims: t.Claims()}
	id := Identity{
		Subject: t.Subject(),
		Issuer:  t.Issuer(),
		Name:    r.first(m.preset.Name),
		Client:  r.first(m.preset.Client),
		Groups:  r.all(m.preset.Groups, r.list),
		Scopes:  r.all(m.preset.Scopes, r.words),
		Actors:  r.actors(),
	}
	if r.verifiedEmail() {
		id.Email = r.first(m.preset.Email)
	}
	id.Kind = m.kind(&r, id.Client)
	if id.Subject == "" {
		r.fail("sub", "is missing")
	}
	return id, errors.Join(r.problems...)
}

func (m *Mapper) kind(r *reader, client string) Kind {
	service := slices.ContainsFunc(m.preset.Service, func(s Sign) bool {
		return !slices.ContainsFunc(s, func(c Condition) bool { return !c.holds(r) })
	})
	switch {
	case !service:
		return User
	case m.agents[client]:
		return Agent
	default:
		return Service
	}
}

func (c Condition) holds(r *reader) bool {
	v, present := r.lookup(c.Claim)
	switch {
	case c.Present:
		return present
	case c.Absent:
		return !present
	}
	s, ok := v.(string)
	other, _ := r.lookup(c.Equals)
	o, isText := other.(string)
	return ok && isText && o != "" && s == c.Prefix+o
}
