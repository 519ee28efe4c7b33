package plugin

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// maxDeployments bounds what a route remembers where its callers choose.
const maxDeployments = 1024

// listingAge is how long a list of all deployments is used: what is new, or
// paused, is in the next.
const listingAge = 5 * time.Second

// selection says which deployment a request is for: always the same, by rules
// over the caller and the request, or by the caller's own choice.
type selection struct {
	client  *prefectclient.Client
	path    pathTemplate
	fixed   string // the deployment, or the one that no rule chose; may be empty
	rules   []deploymentRule
	choices []string // patterns; empty: callers don't choose
	listing *remembered[[]prefectclient.Deployment]

	mu    sync.Mutex
	known map[string]*deployment
}

// The parts of a path by which callers choose.
const (
	partFlow       = "flow"
	partDeployment = "deployment"
)

type deploymentRule struct {
	when       *policy.Condition
	deployment string
}

func newSelection(c TriggerConfig, client *prefectclient.Client) (*selection, error) {
	s := &selection{client: client, fixed: c.Deployment, choices: c.Choose, known: map[string]*deployment{},
		listing: newRemembered(func([]prefectclient.Deployment) time.Duration { return listingAge }, time.Now)}
	var problems []error
	note := func(field string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", field, err))
		}
	}
	var err error
	s.path, err = parsePathTemplate(c.Path)
	note("path", err)
	if c.Deployment != "" {
		_, err = parseDeploymentName(c.Deployment)
		note("deployment", err)
	}
	for i, d := range c.Deployments {
		field := fmt.Sprintf("deployments[%d]", i+1)
		_, err := parseDeploymentName(d.Deployment)
		note(field+".deployment", err)
		when, err := compileWhen(d.When)
		note(field+".when", err)
		s.rules = append(s.rules, deploymentRule{when, d.Deployment})
	}
	for i, pattern := range c.Choose {
		_, err := path.Match(pattern, "")
		if err == nil && strings.Count(pattern, "/") != 1 {
			err = errors.New("must be a pattern of flow/deployment")
		}
		note(fmt.Sprintf("choose[%d]", i+1), err)
	}
	switch {
	case len(c.Choose) > 0 && (c.Deployment != "" || len(c.Deployments) > 0):
		problems = append(problems, errors.New("choose: in place of deployment and deployments, not beside them"))
	case len(c.Choose) > 0 && !(slices.Contains(s.path.names, partFlow) && slices.Contains(s.path.names, partDeployment)):
		problems = append(problems, errors.New("path: must have the parts {flow} and {deployment} where callers choose"))
	case len(c.Choose) == 0 && c.Deployment == "" && len(c.Deployments) == 0:
		problems = append(problems, errors.New("deployment: give deployment, deployments or choose"))
	}
	return s, errors.Join(problems...)
}

// compileWhen refuses what isn't known yet when a deployment is chosen.
func compileWhen(text string) (*policy.Condition, error) {
	when, err := policy.CompileCondition(text)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"parameters", "deployment"} {
		if when.Uses(name) {
			return nil, fmt.Errorf("%s isn't known where the deployment is chosen", name)
		}
	}
	return when, nil
}

// choose gives the name of the deployment that the request is for.
func (s *selection) choose(f policy.Facts) (string, *Problem) {
	if len(s.choices) > 0 {
		name := f.Request.Captures[partFlow] + "/" + f.Request.Captures[partDeployment]
		if !s.offers(name) {
			return "", &Problem{Code: CodeDeploymentNotOffered}
		}
		return name, nil
	}
	for i, rule := range s.rules {
		holds, err := rule.when.Holds(f)
		if err != nil {
			return "", &Problem{Code: CodeDeploymentUndecided, Cause: fmt.Errorf("deployments[%d].when: %w", i+1, err)}
		}
		if holds {
			return rule.deployment, nil
		}
	}
	if s.fixed == "" {
		return "", &Problem{Code: CodeDeploymentUndecided, Cause: errors.New("no rule of deployments holds, and there is no deployment for the others")}
	}
	return s.fixed, nil
}

// only is the deployment's name where the route has one for all.
func (s *selection) only() string {
	if len(s.rules) > 0 {
		return ""
	}
	return s.fixed
}

// starts tells by which name a route starts a deployment, with a path such as
// this one.
func (s *selection) starts(ctx context.Context, t target, id uuid.UUID) (name string, ok bool, problem *Problem) {
	var names []string
	if len(s.choices) > 0 {
		name := t.captures[partFlow] + "/" + t.captures[partDeployment]
		if !s.offers(name) {
			return "", false, nil
		}
		names = append(names, name)
	} else {
		for _, rule := range s.rules {
			names = append(names, rule.deployment)
		}
		if s.fixed != "" {
			names = append(names, s.fixed)
		}
	}
	for _, name := range names {
		d, p := s.find(ctx, name)
		switch {
		case p == nil && d.id == id:
			return name, true, nil
		case p != nil && p.Code != CodeDeploymentUnknown && p.Code != CodeDeploymentNotOffered:
			problem = p // another may be the one
		}
	}
	return "", false, problem
}

// offers tells whether callers may choose a deployment.
func (s *selection) offers(name string) bool {
	return slices.ContainsFunc(s.choices, func(pattern string) bool { return fits(pattern, name) })
}

func fits(pattern, name string) bool {
	matches, err := path.Match(pattern, name)
	return err == nil && matches
}

// find resolves a chosen deployment.
func (s *selection) find(ctx context.Context, name string) (*resolved, *Problem) {
	d, err := s.deployment(name)
	var r *resolved
	if err == nil {
		r, err = d.find(ctx)
	}
	if err != nil {
		problem := prefectProblem(name, err)
		if problem.Code == CodeDeploymentUnknown && len(s.choices) > 0 {
			// The caller's choice, not the route's fault: and nobody learns
			// here what exists beyond what is offered.
			problem.Code = CodeDeploymentNotOffered
		}
		return nil, problem
	}
	return r, nil
}

func (s *selection) deployment(name string) (*deployment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.known[name]; d != nil {
		return d, nil
	}
	parsed, err := parseDeploymentName(name)
	if err != nil {
		return nil, err
	}
	if len(s.choices) > 0 && parsed.id != uuid.Nil {
		return nil, errors.New("callers choose by name")
	}
	for old := range s.known {
		if len(s.known) < maxDeployments {
			break
		}
		delete(s.known, old)
	}
	d := newDeployment(s.client.Route(name), parsed, time.Now)
	s.known[name] = d
	return d, nil
}

// forget drops a deployment of which Prefect says that it is gone.
func (s *selection) forget(name string, gone *resolved) {
	s.mu.Lock()
	d := s.known[name]
	s.mu.Unlock()
	if d != nil {
		d.forget(gone)
	}
}
