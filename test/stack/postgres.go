package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// ErrNotInstalled is the error of a part that a Debian package brings and that isn't there: a test that needs it is
// skipped, and says so. The Makefile installs those packages where it may.
var ErrNotInstalled = errors.New("not installed")

const (
	postgresReadyLimit = 60 * time.Second
	postgresUser       = "prefect"
)

// Postgres is a running PostgreSQL server of its own, with a password. It does not wait for the disk: made for tests,
// its data are gone with the machine.
type Postgres struct {
	bin      string // the folder of the server's programs
	dir      string
	port     int
	password string
	owner    *syscall.Credential // whom the server runs as; nil for ourselves
	proc     *process
}

// StartPostgres makes a database cluster with Debian's postgresql, starts a server on it, and waits until it answers:
// 3 s. Without one installed the error is [ErrNotInstalled].
func StartPostgres(ctx context.Context) (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	owner, err := postgresOwner()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	// Whatever TMPDIR says: root's own may be closed to the server's user.
	dir, err := os.MkdirTemp("/tmp", "kong-prefect-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin, dir: dir, port: port, password: rand.Text(), owner: owner}
	if err = p.initialize(ctx); err == nil {
		err = p.Restart(ctx)
	}
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// postgresBin is the folder of the newest server: Debian keeps it off the PATH. Elsewhere it is on it.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		version := func(path string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for what is no number
			return n
		}
		newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
		return filepath.Dir(newest), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("%w: postgres (on Debian: apt-get install postgresql)", ErrNotInstalled)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil { // its other programs are where it really is
		return "", err
	}
	return filepath.Dir(path), nil
}

// postgresOwner is the package's own user for root: PostgreSQL refuses to run as root.
func postgresOwner() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// initialize makes the cluster, with one user and its password.
func (p *Postgres) initialize(ctx context.Context) error {
	password := filepath.Join(p.dir, "password")
	if err := os.WriteFile(password, []byte(p.password+"\n"), 0o600); err != nil {
		return err
	}
	if p.owner != nil {
		for _, path := range []string{p.dir, password} {
			if err := os.Chown(path, int(p.owner.Uid), int(p.owner.Gid)); err != nil {
				return err
			}
		}
	}
	return p.run(ctx, "initdb", "--pgdata", p.data(), "--username", postgresUser, "--pwfile", password,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// run runs one of PostgreSQL's programs to its end.
func (p *Postgres) run(ctx context.Context, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, postgresReadyLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.Env = append(baseEnv(p.dir), "PGPASSWORD="+p.password)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, Tail(string(out)))
	}
	return nil
}

// CreateDatabase makes one more database, empty.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) error {
	return p.run(ctx, "createdb", "--host", "127.0.0.1", "--port", fmt.Sprint(p.port), "--username", postgresUser,
		"--maintenance-db", "postgres", name)
}

// Addr is its address, host:port.
func (p *Postgres) Addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// URL is a database's address with user and password, as PostgreSQL's clients take it: postgresql://... The database
// "postgres" is there from the start.
func (p *Postgres) URL(database string) string { return p.url("postgresql", database) }

// PrefectURL is the same as Prefect takes it: see [PrefectOptions].
func (p *Postgres) PrefectURL(database string) string { return p.url("postgresql+asyncpg", database) }

func (p *Postgres) url(scheme, database string) string {
	return fmt.Sprintf("%s://%s:%s@%s/%s", scheme, postgresUser, p.password, p.Addr(), database)
}

// Halt ends the server at once, whoever is connected. Restart brings it back with its data, at the same address.
func (p *Postgres) Halt() { p.proc.stop() }

// Restart starts the server, after Halt, and waits until it answers.
func (p *Postgres) Restart(ctx context.Context) (err error) {
	p.proc, err = command{
		name: "postgres",
		path: filepath.Join(p.bin, "postgres"),
		args: []string{"-D", p.data(), "-p", fmt.Sprint(p.port), "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"},
		env: baseEnv(p.dir), dir: p.dir, owner: p.owner,
		quit: syscall.SIGINT, // SIGTERM would wait for every client to go
	}.start()
	if err != nil {
		return err
	}
	return p.proc.await(ctx, postgresReadyLimit, func(ctx context.Context) error {
		return p.run(ctx, "pg_isready", "--host", "127.0.0.1", "--port", fmt.Sprint(p.port))
	})
}

// Logs is what the server wrote.
func (p *Postgres) Logs() string { return p.proc.log() }

// Stop ends the server and removes its data. Safe on nil.
func (p *Postgres) Stop() {
	if p == nil {
		return
	}
	p.proc.stop()
	_ = os.RemoveAll(p.dir)
}
