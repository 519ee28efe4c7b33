package stack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	keycloakReadyLimit = 3 * time.Minute // 12 s on a quiet machine
	keycloakAdmin      = "admin"
)

// KeycloakOptions says what to start.
type KeycloakOptions struct {
	// Home is the folder of an unpacked distribution, which is left as it is. Default: the environment's KEYCLOAK_HOME.
	Home string
	// Realm is the realm's name, RealmFile its definition, as docker-compose.yml mounts it. Required.
	Realm, RealmFile string
}

func (o KeycloakOptions) home() string {
	if o.Home != "" {
		return o.Home
	}
	return os.Getenv("KEYCLOAK_HOME")
}

// Keycloak is a running Keycloak in its development mode, with one realm from a file.
type Keycloak struct {
	dir      string
	url      string
	realm    string
	password string // of the bootstrap admin
	proc     *process
}

// FindKeycloak tells whether there is a distribution and a Java to run it: else the error is [ErrNotInstalled].
func FindKeycloak(opts KeycloakOptions) error {
	if _, err := os.Stat(filepath.Join(opts.home(), "bin", "kc.sh")); err != nil {
		return fmt.Errorf("%w: Keycloak in %q (make e2e-keycloak fetches it)", ErrNotInstalled, opts.home())
	}
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("%w: java (on Debian: apt-get install openjdk-17-jre-headless)", ErrNotInstalled)
	}
	return nil
}

// StartKeycloak starts a copy of the distribution, and waits until the realm is there.
func StartKeycloak(ctx context.Context, opts KeycloakOptions) (*Keycloak, error) {
	if err := FindKeycloak(opts); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kong-prefect-keycloak-")
	if err != nil {
		return nil, err
	}
	k := &Keycloak{dir: dir, url: "http://" + addr, realm: opts.Realm, password: rand.Text()}
	if err := k.start(ctx, opts, strings.TrimPrefix(addr, "127.0.0.1:")); err != nil {
		k.Stop()
		return nil, err
	}
	return k, nil
}

func (k *Keycloak) start(ctx context.Context, opts KeycloakOptions, port string) (err error) {
	home := filepath.Join(k.dir, "home") // it writes into its own folder
	if err := os.CopyFS(home, os.DirFS(opts.home())); err != nil {
		return err
	}
	realm, err := os.ReadFile(opts.RealmFile)
	if err != nil {
		return err
	}
	imports := filepath.Join(home, "data", "import")
	if err := os.MkdirAll(imports, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(imports, "realm.json"), realm, 0o600); err != nil {
		return err
	}
	k.proc, err = command{
		name: "keycloak", path: "/bin/sh", dir: k.dir,
		args: []string{filepath.Join(home, "bin", "kc.sh"), "start-dev", "--import-realm", "--http-host=127.0.0.1", "--http-port=" + port},
		env: append(baseEnv(k.dir), "KC_HOSTNAME="+k.url, "KC_BOOTSTRAP_ADMIN_USERNAME="+keycloakAdmin, "KC_BOOTSTRAP_ADMIN_PASSWORD="+k.password,
			"JAVA_OPTS_KC_HEAP=-Xms64m -Xmx512m"),
	}.start()
	if err != nil {
		return err
	}
	return k.proc.await(ctx, keycloakReadyLimit, func(ctx context.Context) error {
		return k.get(ctx, k.Issuer()+"/.well-known/openid-configuration", "", nil)
	})
}

// Issuer is the realm's issuer, IssuerOf another realm's.
func (k *Keycloak) Issuer() string { return k.IssuerOf(k.realm) }

// IssuerOf is the issuer of a realm.
func (k *Keycloak) IssuerOf(realm string) string { return k.url + "/realms/" + realm }

// Stop ends it and removes its folder.
func (k *Keycloak) Stop() {
	if k == nil {
		return
	}
	k.proc.stop()
	_ = os.RemoveAll(k.dir)
}

// Tokens are what the token endpoint gives.
type Tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}

// ServiceTokens are those of a confidential client of the realm, by the client credentials grant.
func (k *Keycloak) ServiceTokens(ctx context.Context, client, secret string) (Tokens, error) {
	return k.tokens(ctx, k.realm, url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}})
}

// AdminTokens are the bootstrap admin's, of the realm master.
func (k *Keycloak) AdminTokens(ctx context.Context) (Tokens, error) {
	return k.tokens(ctx, "master", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {keycloakAdmin}, "password": {k.password}, "scope": {"openid"},
	})
}

func (k *Keycloak) tokens(ctx context.Context, realm string, form url.Values) (t Tokens, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.IssuerOf(realm)+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return t, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	err = exchange(req, &t)
	return t, err
}

// RotateKeys makes the realm sign with a new RS256 key from now on; the old ones stay published.
func (k *Keycloak) RotateKeys(ctx context.Context) error {
	admin, err := k.AdminTokens(ctx)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"name": "rotated", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
		"config": map[string][]string{"priority": {"1000"}, "algorithm": {"RS256"}, "keySize": {"2048"}},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/admin/realms/"+k.realm+"/components", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+admin.Access)
	return exchange(req, nil)
}

func (k *Keycloak) get(ctx context.Context, address, bearer string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return exchange(req, to)
}

// exchange makes a request and reads its JSON; any status but 2xx is an error.
func exchange(req *http.Request, to any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, body)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(body, to)
}
