package pluginserver

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// errArgument says that a handler wants to tell Kong what Kong can't be told.
// Sent all the same it would end the event in an error of Kong's or in a
// closed socket, which Kong answers by running the event again, without end.
var errArgument = errors.New("argument that can't be sent to kong")

// Statuses that kong.response.exit takes. Source: kong/pdk/response.lua.
const (
	minStatus = 100
	maxStatus = 599
)

// checkText: the fields of the protocol are strings, which are UTF-8.
func checkText(what string, texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%w: %s is not UTF-8", errArgument, what)
		}
	}
	return nil
}

func checkHeaders(headers []Header) error {
	for _, h := range headers {
		if h.Name == "" {
			return fmt.Errorf("%w: a header without a name", errArgument)
		}
		if err := checkText("a header's name", h.Name); err != nil {
			return err
		}
		if err := checkText("a header's value", h.Values...); err != nil {
			return err
		}
	}
	return nil
}

func checkAnswer(a Answer) error {
	if a.Status < minStatus || a.Status > maxStatus {
		return fmt.Errorf("%w: status %d", errArgument, a.Status)
	}
	return checkHeaders(a.Headers)
}
