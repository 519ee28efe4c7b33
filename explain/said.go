package explain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kong-prefect/kong-prefect/token"
)

// maxSaidBytes bounds what is read of a token for people to look at.
const maxSaidBytes = 256 << 10

// said is what a token says of itself, true or not. The signature isn't part.
type said struct {
	algorithm, keyID string
	header           string
	claims           map[string]any
}

// said reads the request's token, wherever it is, without any check: it shows
// and decides nothing.
func (x *explaining) said() (said, bool) {
	for name, values := range x.Headers {
		for _, v := range values {
			if strings.EqualFold(name, "cookie") {
				for pair := range strings.SplitSeq(v, ";") {
					_, value, _ := strings.Cut(pair, "=")
					if s, ok := read(strings.Trim(value, `" `)); ok {
						return s, true
					}
				}
				continue
			}
			if strings.EqualFold(name, "dpop") {
				continue
			}
			fields := strings.Fields(v)
			if len(fields) == 0 {
				continue
			}
			if s, ok := read(fields[len(fields)-1]); ok {
				return s, true
			}
		}
	}
	return said{}, false
}

func read(compact string) (said, bool) {
	parts := strings.SplitN(compact, ".", 4)
	if len(compact) > maxSaidBytes || len(parts) != 3 {
		return said{}, false
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return said{}, false
	}
	var h struct {
		Algorithm any `json:"alg"`
		KeyID     any `json:"kid"`
		Type      any `json:"typ"`
	}
	if json.Unmarshal(header, &h) != nil || h.Algorithm == nil {
		return said{}, false
	}
	s := said{algorithm: text(h.Algorithm), keyID: text(h.KeyID)}
	s.header = fmt.Sprintf("algorithm %q, key id %q, type %q", s.algorithm, s.keyID, text(h.Type))
	if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
		s.claims, _ = token.DecodeClaims(payload) // what can't be read isn't shown
	}
	return s, true
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
