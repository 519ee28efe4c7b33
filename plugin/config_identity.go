package plugin

// ClientCertificateConfig says where the client's TLS certificate is found,
// for tokens that are bound to one (RFC 8705).
type ClientCertificateConfig struct {
	From           string   `json:"from" kong:"one_of=connection|header" default:"\"connection\"" doc:"connection: the certificate of the TLS connection that Kong itself ends (nginx_proxy_ssl_verify_client = optional_no_ca makes Kong ask for one). header: a header that the proxy in front of Kong writes."`
	Header         string   `json:"header" kong:"match=^[%w%-]+$" default:"\"client-cert\"" doc:"The header's name, where from is header."`
	HeaderFormat   string   `json:"header_format" kong:"one_of=rfc9440|pem_urlencoded|sha256" default:"\"rfc9440\"" doc:"What the header holds: the certificate as RFC 9440 writes it, in URL-encoded PEM (nginx, AWS), or its SHA-256 in hex or base64url."`
	TrustedProxies []string `json:"trusted_proxies" doc:"The addresses (CIDR) of the proxies that write the header. From any other peer the header is as if it weren't there. Required where from is header. Danger: these proxies must take away what the client sends under this name."`
}
