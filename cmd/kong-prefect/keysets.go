package main

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kong-prefect/kong-prefect/signing"
)

// keySets are the gateway's published keys of several times or nodes.
type keySets []*signing.KeySet

// Verify takes what any of the sets takes.
func (s keySets) Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error {
	err := signing.ErrUnknownKey
	for _, set := range s {
		if err = set.Verify(compact, typ, claims, options...); !errors.Is(err, signing.ErrUnknownKey) {
			return err
		}
	}
	return err
}
