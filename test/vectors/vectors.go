// Package vectors runs package token over public test vectors: the JOSE sets of
// Wycheproof, the examples of RFC 7515, 7520 and 8037, and beside other JOSE
// libraries. It holds no vectors of its own and knows no way around a failure
// but the six numbered exceptions below. Read [Sets] first, then [Case.Judge].
package vectors

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/c2sp/wycheproof"

	"github.com/kong-prefect/kong-prefect/token"
)

// Set is one file of vectors.
type Set struct {
	Name  string
	Cases []Case
}

// Case is one vector with the keys it is to be tried with.
type Case struct {
	ID      int
	Comment string
	Valid   bool
	// Keys is the key set: the public keys, or the secret ones where there are no
	// others.
	Keys []byte
	// Compact is the token; a JSON serialization is given as its text.
	Compact string
	// ByDesign tells why a valid vector must be refused all the same, "" when it
	// must be accepted.
	ByDesign string
}

// Exceptions are vectors of json_web_signature whose published result is not
// ours, and why. There are no others.
var Exceptions = map[int]string{
	346: "the key says PS256, the token PS384: a key's alg is binding (RFC 7517 section 4.4)",
	347: "the key says ES521, which is no algorithm",
	350: "the key says PS256, the token PS384: a key's alg is binding (RFC 7517 section 4.4)",
	351: "the key says ES521, which is no algorithm",
	372: "a character outside base64url in the header, which RFC 7515 section 2 doesn't allow (and HS256)",
	373: "a character outside base64url in the payload, which RFC 7515 section 2 doesn't allow (and HS256)",
}

type file struct {
	Tests  int `json:"numberOfTests"`
	Groups []struct {
		Public  json.RawMessage `json:"public"`
		Private json.RawMessage `json:"private"`
		Tests   []struct {
			ID      int             `json:"tcId"`
			Comment string          `json:"comment"`
			Result  string          `json:"result"`
			JWS     json.RawMessage `json:"jws"`
			JWE     json.RawMessage `json:"jwe"`
		} `json:"tests"`
	} `json:"testGroups"`
}

// Sets reads all JOSE sets.
func Sets() ([]Set, error) {
	var sets []Set
	for _, name := range []string{"json_web_signature", "json_web_key", "json_web_crypto", "json_web_encryption"} {
		s, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sets = append(sets, s)
	}
	return sets, nil
}

func read(name string) (Set, error) {
	raw, err := fs.ReadFile(wycheproof.TestVectors, name+"_test.json")
	if err != nil {
		return Set{}, err
	}
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return Set{}, err
	}
	set := Set{Name: name}
	for _, g := range f.Groups {
		keys := g.Public
		if len(keys) == 0 {
			keys = g.Private
		}
		symmetric := strings.Contains(string(keys), `"oct"`)
		for _, t := range g.Tests {
			c := Case{ID: t.ID, Comment: t.Comment, Valid: t.Result == "valid", Keys: keySet(keys)}
			switch {
			case len(t.JWE) > 0:
				c.Compact, c.ByDesign = text(t.JWE), "encrypted tokens are not accepted"
			case symmetric:
				c.Compact, c.ByDesign = text(t.JWS), "symmetric algorithms are not accepted"
			default:
				c.Compact = text(t.JWS)
			}
			set.Cases = append(set.Cases, c)
		}
	}
	if len(set.Cases) != f.Tests {
		return Set{}, fmt.Errorf("%d cases announced, %d found", f.Tests, len(set.Cases))
	}
	return set, nil
}

func keySet(raw json.RawMessage) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) == nil && members["keys"] != nil {
		return raw
	}
	return fmt.Appendf(nil, `{"keys":[%s]}`, raw)
}

// text gives a JSON string's content, or the text of anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// Accepts tells whether package token takes the vector.
func (c Case) Accepts() bool {
	set, _, err := token.ParseKeySet(c.Keys)
	if err != nil {
		return false
	}
	_, err = set.VerifyJWS(c.Compact)
	return err == nil
}

// Judge tells whether the vector's result is the published one. What is refused
// by design is right when it is refused.
func (c Case) Judge() bool {
	return c.Accepts() == (c.Valid && c.ByDesign == "")
}

// Row is one line of the table.
type Row struct {
	Set        string
	Cases      int
	Right      int
	ByDesign   int // of the right ones: valid, and refused for what they are
	Exceptions []int
	Wrong      []string
}

// Table judges all vectors.
func Table(sets []Set) []Row {
	var rows []Row
	for _, s := range sets {
		r := Row{Set: s.Name, Cases: len(s.Cases)}
		for _, c := range s.Cases {
			_, excepted := Exceptions[c.ID]
			switch {
			case excepted && s.Name == "json_web_signature":
				r.Exceptions = append(r.Exceptions, c.ID)
				if !c.Valid || c.Accepts() {
					r.Wrong = append(r.Wrong, fmt.Sprintf("tc%d %s: no exception any more", c.ID, c.Comment))
				}
			case !c.Judge():
				r.Wrong = append(r.Wrong, fmt.Sprintf("tc%d %s: valid is %v, accepted is %v", c.ID, c.Comment, c.Valid, c.Accepts()))
			default:
				r.Right++
				if c.Valid && c.ByDesign != "" {
					r.ByDesign++
				}
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// Format writes the table for people.
func Format(rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-22s %5s %5s %9s  %s\n", "set", "cases", "right", "by design", "exceptions")
	for _, r := range rows {
		exceptions := "none"
		if len(r.Exceptions) > 0 {
			exceptions = strings.Trim(fmt.Sprint(r.Exceptions), "[]")
		}
		fmt.Fprintf(&b, "%-22s %5d %5d %9d  %s\n", r.Set, r.Cases, r.Right, r.ByDesign, exceptions)
	}
	b.WriteString("\nby design: valid, but symmetric or encrypted, and so refused here; counted as right\n")
	for _, id := range slices.Sorted(maps.Keys(Exceptions)) {
		fmt.Fprintf(&b, "exception tc%d: %s\n", id, Exceptions[id])
	}
	return b.String()
}
