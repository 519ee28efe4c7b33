package claims

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Paths say which claims hold what. A claim is named by its exact name, or,
// inside objects, by a JSON pointer (RFC 6901) that begins with a slash; in a
// pointer `*` stands for every member of an object or list.
type Paths struct {
	// Subject, where set, replaces sub: for providers whose sub isn't the
	// account itself. The first claim that is present counts, as it does for
	// the four below.
	Subject  []string `yaml:"subject"`
	Username []string `yaml:"username"`
	Name     []string `yaml:"name"`
	Email    []string `yaml:"email"`
	Client   []string `yaml:"client"`
	// Groups and Scopes list claims whose values are all taken.
	Groups []string `yaml:"groups"`
	Scopes []string `yaml:"scopes"`
	// GroupNames list claims that are objects whose members' names are groups.
	GroupNames []string `yaml:"group_names"`
	// Attributes are further claims, under names of our own.
	Attributes map[string]string `yaml:"attributes"`
}

// Preset is what is known of one provider's tokens.
type Preset struct {
	Paths `yaml:",inline"`
	// Documentation is the provider's own page.
	Documentation string `yaml:"documentation"`
	// EmailOnlyIf is a claim that must be true for the address to count.
	// Without it the address counts unless email_verified says otherwise.
	EmailOnlyIf string `yaml:"email_only_if"`
	// Kind, where set, is that of every subject; else Service decides.
	Kind Kind `yaml:"kind"`
	// Service lists signs of a service account; one that holds is enough.
	Service []Sign `yaml:"service"`
	// Overage lists signs of a token that leaves out the groups because there
	// are too many.
	Overage []Sign `yaml:"overage"`
	// AudienceClaim is where the audience is, if not in aud.
	AudienceClaim string `yaml:"audience_claim"`
	// NamesClient says that access tokens always name their client in client_id,
	// azp, cid or appid, and ID tokens never do.
	NamesClient bool `yaml:"names_client"`
	// Assertions says that the issuer signs assertions about people and
	// nothing else, so that an ID token's form is no reason for a refusal.
	Assertions bool `yaml:"assertions"`
}

// Sign holds when all its conditions do.
type Sign []Condition

// Condition is one statement about the claims of a token: exactly one of
// Present, Absent, Is and Equals.
type Condition struct {
	Claim   string `yaml:"claim"`
	Present bool   `yaml:"present"` // the claim is there
	Absent  bool   `yaml:"absent"`  // the claim isn't there
	Is      string `yaml:"is"`      // it is this text
	Equals  string `yaml:"equals"`  // it equals this other claim, which isn't empty
	// With Equals: what stands before and after the other claim's text.
	Prefix string `yaml:"prefix"`
	Suffix string `yaml:"suffix"`
}

//go:embed presets/*.yaml
var presetFiles embed.FS

// presets are the providers known by name, read once: each is one file.
var presets = mustLoad(presetFiles)

// mustLoad stops the program at a preset that can't be read: it is built in.
func mustLoad(files fs.FS) map[string]Preset {
	all, err := loadPresets(files)
	if err != nil {
		panic(err)
	}
	return all
}

func loadPresets(files fs.FS) (map[string]Preset, error) {
	names, err := fs.Glob(files, "presets/*.yaml")
	if err != nil {
		return nil, err
	}
	all := map[string]Preset{}
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		p, err := ParsePreset(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[strings.TrimSuffix(strings.TrimPrefix(name, "presets/"), ".yaml")] = p
	}
	return all, nil
}

// ParsePreset reads a preset's file and refuses what it doesn't know.
func ParsePreset(data []byte) (Preset, error) {
	var p Preset
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil {
		return Preset{}, err
	}
	var problems []error
	if p.Kind != "" && p.Kind != User && p.Kind != Service {
		problems = append(problems, fmt.Errorf("kind: %q is neither user nor service", p.Kind))
	}
	if p.Kind != "" && len(p.Service) > 0 {
		problems = append(problems, errors.New("kind and service exclude each other"))
	}
	for _, sign := range slices.Concat(p.Service, p.Overage) {
		if len(sign) == 0 {
			problems = append(problems, errors.New("a sign without conditions would always hold"))
		}
		for _, c := range sign {
			if !c.complete() {
				problems = append(problems, fmt.Errorf("condition on %q: give exactly one of present, absent, is and equals", c.Claim))
			}
		}
	}
	return p, errors.Join(problems...)
}

func (c Condition) complete() bool {
	n := 0
	for _, set := range []bool{c.Present, c.Absent, c.Is != "", c.Equals != ""} {
		if set {
			n++
		}
	}
	return c.Claim != "" && n == 1
}

// PresetNames lists the presets in alphabetical order.
func PresetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// PresetOf gives a preset by its name.
func PresetOf(name string) (Preset, error) {
	p, ok := presets[name]
	if !ok {
		return Preset{}, fmt.Errorf("preset %q is unknown; there are: %s", name, strings.Join(PresetNames(), ", "))
	}
	return p, nil
}

// with replaces what is set in o.
func (p Paths) with(o Paths) Paths {
	for _, f := range []struct{ to, from *[]string }{
		{&p.Subject, &o.Subject}, {&p.Username, &o.Username}, {&p.Name, &o.Name}, {&p.Email, &o.Email},
		{&p.Client, &o.Client}, {&p.Scopes, &o.Scopes},
	} {
		if len(*f.from) > 0 {
			*f.to = *f.from
		}
	}
	if len(o.Groups)+len(o.GroupNames) > 0 { // both are where groups come from
		p.Groups, p.GroupNames = o.Groups, o.GroupNames
	}
	attributes := maps.Clone(p.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	maps.Copy(attributes, o.Attributes)
	p.Attributes = attributes
	return p
}
