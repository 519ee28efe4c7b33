package pluginserver

import "google.golang.org/protobuf/encoding/protowire"

// Field numbers of kong_plugin_protocol.Consumer; those of ConsumerSpec,
// AuthenticateArgs and AuthenticatedCredential are 1 and 2.
const (
	consumerID       = 1
	consumerUsername = 3
	consumerCustomID = 4
)

// appendConsumerSpec appends kong_plugin_protocol.ConsumerSpec.
func appendConsumerSpec(b []byte, key string, byUsername bool) []byte {
	return appendIntField(appendStringField(b, 1, key), 2, int64(protowire.EncodeBool(byUsername)))
}

// appendAuthenticate appends kong_plugin_protocol.AuthenticateArgs. A
// credential is never sent without its consumer: Kong fails such a request.
func appendAuthenticate(b []byte, c Consumer, credentialID string) []byte {
	b = appendMessage(b, 1, func(b []byte) []byte {
		b = appendStringField(b, consumerID, c.ID)
		b = appendStringField(b, consumerUsername, c.Username)
		return appendStringField(b, consumerCustomID, c.CustomID)
	})
	if credentialID == "" {
		return b
	}
	return appendMessage(b, 2, func(b []byte) []byte {
		return appendStringField(appendStringField(b, 1, credentialID), 2, c.ID)
	})
}

func decodeConsumer(b []byte) (c Consumer, err error) {
	err = eachField(b, func(field int, part []byte, _ uint64) error {
		switch field {
		case consumerID:
			c.ID = string(part)
		case consumerUsername:
			c.Username = string(part)
		case consumerCustomID:
			c.CustomID = string(part)
		}
		return nil
	})
	return c, err
}
