package server

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// Files of a directory of credentials: the keys of a mounted Secret. The last
// two are those of Kubernetes' type kubernetes.io/basic-auth.
const (
	tokenFile    = "token"    // bearer tokens, one per line
	htpasswdFile = "htpasswd" // NAME:BCRYPT lines, as htpasswd -B writes them
	usernameFile = "username"
	passwordFile = "password"
)

const (
	// credentialsAge is how long what was read of the directory is used before
	// it is looked at again. A kubelet takes about a minute to bring a change.
	credentialsAge = 5 * time.Second
	// peerGrace is how long replicas that have read a new Secret accept those
	// that have not yet.
	peerGrace = 10 * time.Minute
	// maxVerified bounds the passwords that are remembered as good.
	maxVerified = 1000
	// minToken is the least length of a token that cannot be guessed.
	minToken = 16
)

// Credentials say who may use the API. They are read from a directory and read
// again when it changes; a change that cannot be used is logged, and what was
// valid before stays valid. Safe for concurrent use.
type Credentials struct {
	dir string
	log *slog.Logger
	now func() time.Time
	// hashing bounds the processors that passwords can cost: bcrypt is slow by
	// design, and anybody may send them.
	hashing *semaphore.Weighted

	mu      sync.Mutex // guards what follows
	read    time.Time
	current *credentialSet
	// former is the peer token before the last change, until its time is over.
	former      [sha256.Size]byte
	formerUntil time.Time
}

// credentialSet is what a directory held at one time.
type credentialSet struct {
	content  [sha256.Size]byte // of all files
	tokens   [][sha256.Size]byte
	users    map[string][]byte // bcrypt hashes
	username string
	password [sha256.Size]byte // of username; only valid with one
	peer     string

	mu       sync.Mutex
	verified map[[sha256.Size]byte]bool // name and password that matched a bcrypt hash
}

// OpenCredentials reads a directory. One without any credential is an error:
// an API that was meant to be closed must not be open.
func OpenCredentials(dir string, log *slog.Logger) (*Credentials, error) {
	c := &Credentials{dir: dir, log: log, now: time.Now, hashing: semaphore.NewWeighted(1)}
	set, err := readCredentials(dir)
	if err != nil {
		return nil, err
	}
	c.current, c.read = set, c.now()
	return c, nil
}

func readCredentials(dir string) (*credentialSet, error) {
	set := &credentialSet{users: map[string][]byte{}, verified: map[[sha256.Size]byte]bool{}}
	all := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{tokenFile, htpasswdFile, usernameFile, passwordFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = bytes.TrimRight(text, "\r\n")
		fmt.Fprintf(all, "%s %d\n%s\n", name, len(text), text)
	}
	all.Sum(set.content[:0])
	for line := range strings.Lines(string(files[tokenFile])) {
		token := strings.TrimSpace(line)
		if token == "" || strings.HasPrefix(token, "#") {
			continue
		}
		if len(token) < minToken {
			return nil, fmt.Errorf("%s has a token of %d characters: it can be guessed, use at least %d (openssl rand -hex 32)", filepath.Join(dir, tokenFile), len(token), minToken)
		}
		set.tokens = append(set.tokens, sha256.Sum256([]byte(token)))
	}
	if err := set.readUsers(filepath.Join(dir, htpasswdFile), files[htpasswdFile]); err != nil {
		return nil, err
	}
	if user, password := files[usernameFile], files[passwordFile]; len(user) > 0 || len(password) > 0 {
		if len(user) == 0 || len(password) == 0 {
			return nil, fmt.Errorf("%s: username and password go together", dir)
		}
		set.username, set.password = string(user), sha256.Sum256(password)
	}
	if len(set.tokens) == 0 && len(set.users) == 0 && set.username == "" {
		return nil, fmt.Errorf("%s has no credentials: it needs %s, %s, or %s and %s (keys of the mounted Secret)", dir, tokenFile, htpasswdFile, usernameFile, passwordFile)
	}
	mac := hmac.New(sha256.New, set.content[:])
	mac.Write([]byte("logstack peer"))
	set.peer = hex.EncodeToString(mac.Sum(nil))
	return set, nil
}

func (s *credentialSet) readUsers(file string, text []byte) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if _, err := bcrypt.Cost([]byte(hash)); !ok || name == "" || err != nil {
			return fmt.Errorf("%s:%d is not NAME:HASH with a bcrypt hash: write it with htpasswd -nB NAME", file, n)
		}
		s.users[name] = []byte(hash)
	}
	return nil
}

// set is what is valid now.
func (c *Credentials) set() *credentialSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.read) < credentialsAge {
		return c.current
	}
	c.read = now
	fresh, err := readCredentials(c.dir)
	switch {
	case err != nil:
		c.log.Error("credentials cannot be read again; the former ones stay valid", "error", err)
	case fresh.content != c.current.content:
		c.former, c.formerUntil = sha256.Sum256([]byte(c.current.peer)), now.Add(peerGrace)
		c.current = fresh
		c.log.Info("credentials changed")
	}
	return c.current
}

// PeerToken is what replicas show each other: who has the same Secret mounted
// knows it. It changes with the Secret.
func (c *Credentials) PeerToken() string { return c.set().peer }

// allowed says whether a request carries a credential that is valid.
func (c *Credentials) allowed(r *http.Request) bool {
	set := c.set()
	// The API server's service proxy takes Authorization off: what comes through
	// it has the same text in a header of ours.
	for _, value := range []string{r.Header.Get("Authorization"), r.Header.Get(lokiapi.TokenHeader)} {
		if value == "" {
			continue
		}
		scheme, rest, _ := strings.Cut(value, " ")
		switch {
		case strings.EqualFold(scheme, "Basic"):
			name, password, ok := basic(rest)
			if ok && (set.plain(name, password) || c.hashed(r.Context(), set, name, password) || set.token(password)) {
				return true
			}
		case strings.EqualFold(scheme, "Bearer"):
			value = strings.TrimSpace(rest)
			fallthrough
		default:
			if set.token(value) || c.peer(set, value) {
				return true
			}
		}
	}
	return false
}

func basic(encoded string) (name, password string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

// token compares with all tokens, so that the time says nothing. As with many
// services, a token may also come as the password of any user.
func (s *credentialSet) token(value string) bool {
	sum := sha256.Sum256([]byte(value))
	found := 0
	for i := range s.tokens {
		found |= subtle.ConstantTimeCompare(sum[:], s.tokens[i][:])
	}
	return found == 1
}

func (c *Credentials) peer(set *credentialSet, value string) bool {
	if subtle.ConstantTimeCompare([]byte(value), []byte(set.peer)) == 1 {
		return true
	}
	sum := sha256.Sum256([]byte(value))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Before(c.formerUntil) && subtle.ConstantTimeCompare(sum[:], c.former[:]) == 1
}

func (s *credentialSet) plain(name, password string) bool {
	sum := sha256.Sum256([]byte(password))
	return s.username != "" && name == s.username && subtle.ConstantTimeCompare(sum[:], s.password[:]) == 1
}

// hashed compares with the bcrypt hash of a user; what matched once is
// remembered until the credentials change.
func (c *Credentials) hashed(ctx context.Context, set *credentialSet, name, password string) bool {
	hash, known := set.users[name]
	if !known {
		return false
	}
	key := sha256.Sum256([]byte(name + ":" + password))
	set.mu.Lock()
	good := set.verified[key]
	set.mu.Unlock()
	if good {
		return true
	}
	if c.hashing.Acquire(ctx, 1) != nil {
		return false
	}
	defer c.hashing.Release(1)
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return false
	}
	set.mu.Lock()
	defer set.mu.Unlock()
	if len(set.verified) >= maxVerified {
		clear(set.verified)
	}
	set.verified[key] = true
	return true
}

// guard lets only requests with valid credentials through to h. /ready is for
// the kubelet, which has none, /metrics for Prometheus: neither shows lines or
// labels of streams.
func (s *Server) guard(h http.Handler) http.Handler {
	c := s.opts.Credentials
	if c == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open := (r.URL.Path == "/ready" || r.URL.Path == "/metrics") && (r.Method == http.MethodGet || r.Method == http.MethodHead)
		if open || c.allowed(r) {
			h.ServeHTTP(w, r)
			return
		}
		s.metrics.refused.WithLabelValues("", reasonCredentials).Inc()
		w.Header().Add("WWW-Authenticate", `Basic realm="logstack", charset="UTF-8"`)
		w.Header().Add("WWW-Authenticate", `Bearer realm="logstack"`)
		if s.opts.CredentialsSecret != "" {
			w.Header().Set(lokiapi.SecretHeader, s.opts.CredentialsSecret)
		}
		http.Error(w, "credentials are missing or wrong: send Authorization: Bearer TOKEN, or Basic", http.StatusUnauthorized)
	})
}
