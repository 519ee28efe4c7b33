package claims

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/token"
)

// Limits on what one token may bring. They bound the headers and the run
// context made of it.
const (
	MaxGroups = 1000 // also scopes, and the values of one attribute
	MaxActors = 8
)

// ErrInvalid says that a claim can't be read as its preset expects. The
// provider or the preset is wrong, never only this request.
var ErrInvalid = errors.New("claim can't be used")

// ErrGroupsOverage says that the caller is in too many groups for the token to
// name them. What they may do can't be told for certain.
var ErrGroupsOverage = errors.New("the token leaves out its groups, because there are too many")

// Options say how the tokens of one issuer are read. The zero value of each is
// the preset's own way.
type Options struct {
	// Preset is one of [PresetNames]. Required, unless Data is given.
	Preset string
	// Data is a preset in place of a named one.
	Data *Preset
	// Paths replace the preset's own, each that is set.
	Paths Paths
	// ServiceAccounts are clients that stand for themselves, for providers
	// whose tokens don't tell them from people.
	ServiceAccounts []string
	// Agents are clients that are AI agents.
	Agents []string
	// GroupSeparator, where set, makes a member of a/b a member of a too.
	GroupSeparator string
	// WithoutGroupsOnOverage goes on without any group where the provider
	// left them out, instead of failing with [ErrGroupsOverage].
	WithoutGroupsOnOverage bool
}

// Mapper maps the tokens of one issuer.
type Mapper struct {
	preset   Preset
	paths    Paths
	options  Options
	services map[string]bool
	agents   map[string]bool
}

// NewMapper checks the options and returns the mapper.
func NewMapper(o Options) (*Mapper, error) {
	m := &Mapper{options: o, services: set(o.ServiceAccounts), agents: set(o.Agents)}
	if o.Data != nil {
		m.preset = *o.Data
	} else {
		var err error
		if m.preset, err = PresetOf(o.Preset); err != nil {
			return nil, err
		}
	}
	m.paths = m.preset.Paths.with(o.Paths)
	return m, nil
}

func set(list []string) map[string]bool {
	s := map[string]bool{}
	for _, v := range list {
		s[v] = v != ""
	}
	return s
}

// Identity maps a verified token to its identity, or fails with [ErrInvalid]
// or [ErrGroupsOverage].
func (m *Mapper) Identity(t token.Verified) (Identity, error) {
	r := reader{claims: t.Claims()}
	username, name := m.paths.Username, m.paths.Name
	counts := r.emailCounts(m.preset.EmailOnlyIf)
	if !counts { // what is no address of theirs is no name of theirs
		username, name = without(username, m.paths.Email), without(name, m.paths.Email)
	}
	id := Identity{
		Subject:    t.Subject(),
		Issuer:     t.Issuer(),
		Username:   r.first(username),
		Name:       r.first(name),
		Client:     r.first(m.paths.Client),
		Scopes:     r.all(m.paths.Scopes, r.words),
		Actors:     m.actors(&r),
		Attributes: r.attributes(m.paths.Attributes),
	}
	if len(m.paths.Subject) > 0 {
		id.Subject = r.first(m.paths.Subject)
	}
	if counts {
		id.Email = r.first(m.paths.Email)
	}
	id.Kind = m.kind(&r, id.Client)
	id.Actors = m.withAgent(&r, id)
	id.Groups = m.groups(&r)
	switch {
	case id.Subject == "":
		r.fail(strings.Join(append(m.paths.Subject, "sub"), ", "), "is missing")
	case strings.ContainsFunc(id.Subject, isControl):
		r.fail("the subject", "holds control characters")
	}
	return id, errors.Join(r.problems...)
}

func without(claims, unwanted []string) []string {
	return slices.DeleteFunc(slices.Clone(claims), func(c string) bool { return slices.Contains(unwanted, c) })
}

func isControl(c rune) bool { return c < 0x20 || c == 0x7f }

func (m *Mapper) groups(r *reader) []string {
	if anyHolds(m.preset.Overage, r) {
		if !m.options.WithoutGroupsOnOverage {
			r.problems = append(r.problems, ErrGroupsOverage)
		}
		return nil
	}
	var groups []string
	for _, g := range append(r.all(m.paths.Groups, r.list), r.all(m.paths.GroupNames, r.names)...) {
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	if m.options.GroupSeparator != "" {
		groups = withParents(groups, m.options.GroupSeparator)
	}
	if len(groups) > MaxGroups {
		r.fail("the groups", fmt.Sprintf("are more than %d; let the provider send only those that this gateway needs", MaxGroups))
		return nil
	}
	return groups
}

// withParents adds to each group the ones above it, after all that the token
// itself names. It stops at more than there may be.
func withParents(groups []string, separator string) []string {
	have := set(groups)
	for _, g := range groups {
		for {
			at := strings.LastIndex(g, separator)
			if at <= 0 || len(groups) > MaxGroups { // a leading separator is no parent
				break
			}
			if g = g[:at]; !have[g] {
				have[g] = true
				groups = append(groups, g)
			}
		}
	}
	return groups
}

func (m *Mapper) kind(r *reader, client string) Kind {
	service := m.preset.Kind == Service || m.services[client] ||
		m.preset.Kind == "" && anyHolds(m.preset.Service, r)
	switch {
	case !service:
		return User
	case m.agents[client]:
		return Agent
	default:
		return Service
	}
}

func anyHolds(signs []Sign, r *reader) bool {
	return slices.ContainsFunc(signs, func(s Sign) bool {
		return !slices.ContainsFunc(s, func(c Condition) bool { return !c.holds(r) })
	})
}

func (c Condition) holds(r *reader) bool {
	v, present := r.lookup(c.Claim)
	s, isText := v.(string)
	switch {
	case c.Present:
		return present
	case c.Absent:
		return !present
	case c.Is != "":
		return isText && s == c.Is
	}
	other, _ := r.lookup(c.Equals)
	o, otherIsText := other.(string)
	return isText && otherIsText && o != "" && s == c.Prefix+o+c.Suffix
}

// withAgent names the agent that has a person's token, where the token itself
// doesn't: one who signs people in gets their tokens without act.
func (m *Mapper) withAgent(r *reader, id Identity) []Actor {
	named := slices.ContainsFunc(id.Actors, func(a Actor) bool { return id.Client == cmp.Or(a.Client, a.Subject) })
	if id.Kind != User || !m.agents[id.Client] || named {
		return id.Actors
	}
	if len(id.Actors) == MaxActors {
		r.tooManyActors()
		return nil
	}
	return append([]Actor{{Client: id.Client, Kind: Agent}}, id.Actors...)
}

func (r *reader) tooManyActors() { r.fail("act", fmt.Sprintf("names more than %d actors", MaxActors)) }

// actors reads the act claim, the nearest actor first (RFC 8693, section 4.1).
func (m *Mapper) actors(r *reader) []Actor {
	var actors []Actor
	v, present := r.lookup("act")
	for present {
		act, ok := v.(map[string]any)
		if !ok {
			r.fail("act", "must be an object")
			return nil
		}
		if len(actors) == MaxActors {
			r.tooManyActors()
			return nil
		}
		at := reader{claims: act}
		actor := Actor{Subject: at.first([]string{"sub"}), Issuer: at.first([]string{"iss"}), Client: at.first([]string{"client_id", "azp"})}
		if actor.Subject == "" && actor.Client == "" || len(at.problems) > 0 {
			r.fail("act", "must name each actor by sub or client_id, as strings")
			return nil
		}
		if m.agents[actor.Client] || actor.Client == "" && m.agents[actor.Subject] {
			actor.Kind = Agent
		}
		actors = append(actors, actor)
		v, present = at.lookup("act")
	}
	return actors
}
