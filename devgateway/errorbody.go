package devgateway

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var errorMessages = map[int]string{
	400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed",
	408: "Request timeout", 409: "Conflict", 411: "Length required", 413: "Payload too large", 414: "URI too long",
	415: "Unsupported media type", 417: "Expectation failed", 422: "Unprocessable entity", 426: "Upgrade required",
	429: "Too many requests", 494: "Request header or cookie too large", 500: "An unexpected error occurred",
	501: "Not implemented", 502: "An invalid response was received from the upstream server",
	503: "The upstream server is currently unavailable", 504: "The upstream server is timing out",
}

func errorMessage(status int) string {
	if m := errorMessages[status]; m != "" {
		return m
	}
	return fmt.Sprintf("The upstream server responded with %d", status)
}

const (
	mimeJSON  = "application/json; charset=utf-8"
	mimeHTML  = "text/html; charset=utf-8"
	mimeXML   = "application/xml; charset=utf-8"
	mimePlain = "text/plain; charset=utf-8"
)

var mimeTypes = map[string]string{
	"text/html": mimeHTML, "application/json": mimeJSON, "text/plain": mimePlain, "application/xml": mimeXML,
	"application/*": mimeJSON, "text/*": mimePlain, "*/*": mimeJSON,
}

var (
	acceptItem = regexp.MustCompile(`(?i)^((?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*)/(?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*))`)
	acceptQ    = regexp.MustCompile(`(?i);\s*q=([01](?:\.\d{0,3})?)`)
)

// responseType picks the type of an error body from Accept values.
func responseType(accept []string) string {
	best, quality := mimeJSON, 0.0
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		item = strings.TrimSpace(item)
		m := acceptItem.FindStringSubmatch(item)
		if m == nil {
			continue
		}
		q := 1.0
		if qm := acceptQ.FindStringSubmatch(item); qm != nil {
			q, _ = strconv.ParseFloat(qm[1], 64)
		}
		if q > quality {
			quality = q
			if best = mimeTypes[strings.ToLower(m[1])]; best == "" {
				best = mimeJSON
			}
		}
	}
	return best
}

func errorBody(mime, message, id string) string {
	switch mime {
	case mimeHTML:
		return "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>" +
			message + ".</p>\n    <p>request_id: " + id + "</p>\n  </body>\n</html>\n"
	case mimeXML:
		return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>" + message + "</message>\n  <requestid>" + id + "</requestid>\n</error>\n"
	case mimePlain:
		return message + "\nrequest_id: " + id + "\n"
	}
	return "{\n  \"message\":\"" + message + "\",\n  \"request_id\":\"" + id + "\"\n}"
}
