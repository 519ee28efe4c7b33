package stamp

import (
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kong-prefect/kong-prefect/signing"
)

// keysAt verifies as if it were another time.
type keysAt struct {
	keys *signing.Keys
	at   time.Time
}

func (k keysAt) Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error {
	return k.keys.Verify(compact, typ, claims, append(options, jwt.WithTimeFunc(func() time.Time { return k.at }))...)
}
