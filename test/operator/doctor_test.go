package operator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/doctor"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

// doctorConfig fills in testdata/doctor.yml with one fault.
func (s *suite) doctorConfig(t *testing.T, fault string) string {
	t.Helper()
	path, err := s.write("testdata/doctor.yml", map[string]string{"EchoURL": s.echo.URL, "PrefectURL": s.prefect.URL(), "Fault": fault})
	require.NoError(t, err)
	return path
}

// examined runs the real binary.
func (s *suite) examined(t *testing.T, args ...string) doctor.Report {
	t.Helper()
	out, errs, code := s.tool(t, "", append([]string{"doctor", "--json", "--rate", "100"}, args...)...)
	var r doctor.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r), "%s%s", out, errs)
	wanted := 0
	if worst := r.Worst(); worst == doctor.Danger || worst == doctor.Warning {
		wanted = 1
	}
	require.Equal(t, wanted, code, errs)
	require.Less(t, r.Requests, 150)
	return r
}

// found are the findings that are neither well nor unknown, each as "verdict check".
func found(r doctor.Report) (list []string) {
	for _, f := range r.Findings {
		if f.Verdict == doctor.Danger || f.Verdict == doctor.Warning {
			list = append(list, string(f.Verdict)+" "+f.Check)
		}
	}
	return list
}

// whole are the arguments with which the doctor can tell all but whether Prefect is reached directly.
func (s *suite) whole(t *testing.T, config string) []string {
	t.Helper()
	service, err := s.idp.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
	person, err := s.idp.PersonToken(t.Context(), "alice")
	require.NoError(t, err)
	idToken, _ := person.Extra("id_token").(string)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(service+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id"), []byte(idToken), 0o600))
	return []string{"--config", config, "--token-file", filepath.Join(dir, "token"), "--id-token-file", filepath.Join(dir, "id"), "--echo", "/echo"}
}

func (s *suite) runs(t *testing.T) int {
	t.Helper()
	var n int
	require.NoError(t, s.prefect.Post(t.Context(), "/flow_runs/count", map[string]any{}, &n))
	return n
}

func TestDoctorFindsAGoodGatewayWell(t *testing.T) {
	s := parts(t)
	config := s.doctorConfig(t, "")
	port, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, port.Close())
	gateway, err := s.startGateway(t.Context(), config, "--listen", port.Addr().String())
	require.NoError(t, err)
	defer gateway.Stop()
	before := s.runs(t)
	nobody, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	r := s.examined(t, append(s.whole(t, config), gateway.URL(), "--process", "http://"+port.Addr().String(), "--prefect-url", "http://"+nobody.Addr().String()+"/api")...)
	for _, f := range r.Findings {
		require.Equal(t, doctor.OK, f.Verdict, "%+v", f)
	}
	require.GreaterOrEqual(t, len(r.Findings), 20)
	require.Equal(t, before, s.runs(t), "no request has an effect")

	out, _, _ := s.tool(t, "", append([]string{"doctor", gateway.URL(), "--rate", "100"}, s.whole(t, config)...)...)
	t.Log("\n" + out)
	require.Contains(t, out, "0 warnings, 0 dangers")
}

func TestDoctorFindsWhatIsBroken(t *testing.T) {
	s := parts(t)
	for _, c := range []struct {
		fault string
		found []string
		says  string
	}{
		{"run without identity", []string{"danger identity"}, "identity_missing"},
		{"echo without identity", []string{"danger headers at the upstream"}, "X-Caller-"},
		{"broken", []string{"danger good token"}, "config_invalid"},
		{"any token", []string{"danger tokens"}, "an ID token"},
		{"bare", nil, ""},
	} {
		t.Run(c.fault, func(t *testing.T) {
			config := s.doctorConfig(t, c.fault)
			gateway, err := s.startGateway(t.Context(), config)
			require.NoError(t, err)
			defer gateway.Stop()
			r := s.examined(t, append(s.whole(t, config), gateway.URL())...)
			got := found(r)
			for _, want := range c.found {
				require.Contains(t, got, want, "%+v", r.Findings)
			}
			if c.says != "" {
				text, err := json.Marshal(r)
				require.NoError(t, err)
				require.Contains(t, string(text), c.says)
			}
			if c.fault == "bare" {
				require.Empty(t, got, "Prefect's own password is still there: %+v", r.Findings)
			}
		})
	}
}

func TestDoctorFindsAnOldConfiguration(t *testing.T) {
	s := parts(t)
	gateway, err := s.startGateway(t.Context(), s.doctorConfig(t, ""))
	require.NoError(t, err)
	defer gateway.Stop()
	r := s.examined(t, append(s.whole(t, s.doctorConfig(t, "new route")), gateway.URL())...)
	require.Equal(t, []string{"danger identity"}, found(r))
	require.Contains(t, r.Findings[2].Means+r.Findings[3].Means+r.Findings[1].Means, "an old one")
}

// TestDoctorFindsADeadProcess takes the binary away before it kills the process: nothing can start it again.
func TestDoctorFindsADeadProcess(t *testing.T) {
	s := parts(t)
	data, err := os.ReadFile(filepath.Join(s.dir, "tool"))
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), "kong-prefect")
	require.NoError(t, os.WriteFile(binary, data, 0o700))
	config := s.doctorConfig(t, "")
	gateway, err := stack.StartGateway(t.Context(), stack.GatewayOptions{Plugin: binary, DevGateway: filepath.Join(s.dir, "devgateway"), Config: config, Env: s.env})
	require.NoError(t, err)
	defer gateway.Stop()
	require.NoError(t, os.Remove(binary))
	require.NoError(t, gateway.KillPlugin())
	r := s.examined(t, append(s.whole(t, config), gateway.URL())...)
	require.Contains(t, found(r), "danger process", "%+v", r.Findings)
}

// TestDoctorFindsSideDoors: a server with a password that can be reached, and one without.
func TestDoctorFindsSideDoors(t *testing.T) {
	s := parts(t)
	r := s.examined(t, s.gateway.URL(), "--path", "/echo", "--prefect-url", s.prefect.APIURL())
	require.Contains(t, found(r), "warning side door")
	open, err := stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv")), Open: true})
	require.NoError(t, err)
	defer open.Stop()
	require.NoError(t, open.Ready(t.Context()))
	r = s.examined(t, s.gateway.URL(), "--path", "/echo", "--prefect-url", open.APIURL())
	require.Contains(t, found(r), "danger side door")

	path, err := s.write("testdata/doctor.yml", map[string]string{"EchoURL": s.echo.URL, "PrefectURL": open.URL(), "Fault": "bare"})
	require.NoError(t, err)
	gateway, err := s.startGateway(t.Context(), path)
	require.NoError(t, err)
	defer gateway.Stop()
	r = s.examined(t, append(s.whole(t, path), gateway.URL())...)
	require.Equal(t, []string{"danger side door"}, found(r), "%+v", r.Findings)
}

// front is a proxy before the gateway, as operators have one.
func front(t *testing.T, gateway string, change func(*http.Response) error) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(gateway)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = change
	proxy.ErrorLog = nil
	return proxy
}

// TestDoctorFindsASkewedClock: a machine's clock can't be set by a test, so a proxy tells another time.
func TestDoctorFindsASkewedClock(t *testing.T) {
	s := parts(t)
	for skew, want := range map[time.Duration]string{10 * time.Second: "warning clock", -5 * time.Minute: "danger clock"} {
		skewed := httptest.NewServer(front(t, s.gateway.URL(), func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
			return nil
		}))
		r := s.examined(t, skewed.URL, "--path", "/echo", "--issuer", s.idp.Issuer(), "--audience", "kong-prefect")
		skewed.Close()
		require.Equal(t, []string{want, want}, found(r), "this machine's, and the issuer's")
	}
}

func TestDoctorFindsACertificateThatExpires(t *testing.T) {
	s := parts(t)
	for left, want := range map[time.Duration]string{90 * 24 * time.Hour: "", 10 * 24 * time.Hour: "warning certificate", 24 * time.Hour: "danger certificate", -time.Hour: "danger reachable"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: time.Now().Add(left),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
		require.NoError(t, err)
		server := httptest.NewUnstartedServer(front(t, s.gateway.URL(), nil))
		server.Config.ErrorLog = nil
		server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		ca := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
		r := s.examined(t, server.URL, "--path", "/echo", "--ca", ca)
		server.Close()
		require.Equal(t, want, strings.Join(found(r), ","), "%s: %+v", left, r.Findings)
	}
}

// TestDoctorSaysWhoItIs: what the upstream is sent names the sender.
func TestDoctorSaysWhoItIs(t *testing.T) {
	s := parts(t)
	seen := make(chan string, 100)
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("User-Agent")
		_, _ = io.WriteString(w, "{}")
	}))
	defer listener.Close()
	_, errs, code := s.tool(t, "", "doctor", listener.URL, "--path", "/a", "--max-requests", "3")
	require.Equal(t, 1, code, "what answers everybody is in danger: %s", errs)
	require.Len(t, seen, 3, "the limit holds")
	require.Regexp(t, `^kong-prefect-doctor/`, <-seen)
}
