package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Validity of the authority and of what it issues. A clock that is a little
// behind must still accept a certificate made a second ago, hence backdate.
const (
	validity = 365 * 24 * time.Hour
	backdate = 10 * time.Minute
	// renewBefore is how much validity must be left for a certificate on disk
	// to be used again.
	renewBefore = 7 * 24 * time.Hour
)

// Authority is a certificate authority whose files are in one directory. Its
// methods may be called one after another only.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair names the two PEM files of one certificate.
type Pair struct {
	CertFile string
	KeyFile  string
}

// Open loads the authority in dir (ca.crt, ca.key), or creates it there when the
// files are missing or about to expire. The directory is created with mode 0700.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate directory: %w", err)
	}
	a := &Authority{dir: dir}
	pair := a.pair("ca")
	cert, key, err := load(pair)
	if err == nil && time.Until(cert.NotAfter) > renewBefore {
		a.cert, a.key = cert, key
		return a, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load certificate authority: %w (delete %s to make a new one)", err, dir)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "logstack-cluster-ca"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("generate authority key: %w", err)
	}
	a.cert = template // issue reads the subject and key of the signer
	if a.cert, err = a.issue(template, a.key, pair); err != nil {
		return nil, err
	}
	return a, nil
}

// CertFile is the path of the authority's certificate.
func (a *Authority) CertFile() string { return a.pair("ca").CertFile }

// KeyFile is the path of the authority's private key.
func (a *Authority) KeyFile() string { return a.pair("ca").KeyFile }

// CertPEM returns the authority's certificate as PEM.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Server returns the serving certificate called name (also its common name) for
// hosts, which are DNS names or IP addresses. The certificate may be used as a
// client certificate too, as a kubelet's is.
func (a *Authority) Server(name string, hosts ...string) (Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return a.reuseOrIssue(name, template)
}

// Client returns the client certificate stored as name for user, member of
// groups: Kubernetes takes the user from the common name and the groups from
// the organisations.
func (a *Authority) Client(name, user string, groups ...string) (Pair, error) {
	return a.reuseOrIssue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// SigningKey returns a key pair without a certificate: <name>.pub and
// <name>.key, as the API server wants it for service account tokens.
func (a *Authority) SigningKey(name string) (public, private string, err error) {
	public = filepath.Join(a.dir, name+".pub")
	private = filepath.Join(a.dir, name+".key")
	if _, err := os.Stat(public); err == nil {
		if _, err := os.Stat(private); err == nil {
			return public, private, nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("generate %s: %w", name, err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", fmt.Errorf("encode %s: %w", name, err)
	}
	if err := writeKey(private, key); err != nil {
		return "", "", err
	}
	return public, private, writePEM(public, "PUBLIC KEY", der, 0o644)
}

func (a *Authority) pair(name string) Pair {
	return Pair{CertFile: filepath.Join(a.dir, name+".crt"), KeyFile: filepath.Join(a.dir, name+".key")}
}

// reuseOrIssue keeps a certificate on disk that was signed by this authority for
// the same subject and names, so that a second start changes nothing.
func (a *Authority) reuseOrIssue(name string, template *x509.Certificate) (Pair, error) {
	pair := a.pair(name)
	if old, _, err := load(pair); err == nil && a.matches(old, template) {
		return pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("generate key of %s: %w", name, err)
	}
	_, err = a.issue(template, key, pair)
	return pair, err
}

func (a *Authority) matches(old, want *x509.Certificate) bool {
	return old.CheckSignatureFrom(a.cert) == nil &&
		time.Until(old.NotAfter) > renewBefore &&
		old.Subject.CommonName == want.Subject.CommonName &&
		slices.Equal(old.Subject.Organization, want.Subject.Organization) &&
		slices.Equal(old.DNSNames, want.DNSNames) &&
		slices.EqualFunc(old.IPAddresses, want.IPAddresses, net.IP.Equal)
}

func (a *Authority) issue(template *x509.Certificate, key *ecdsa.PrivateKey, pair Pair) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	now := time.Now()
	template.SerialNumber = serial
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", pair.CertFile, err)
	}
	if err := writeKey(pair.KeyFile, key); err != nil {
		return nil, err
	}
	if err := writePEM(pair.CertFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func load(p Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certDER, err := readPEM(p.CertFile)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := readPEM(p.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.CertFile, err)
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.KeyFile, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s does not belong to %s", p.KeyFile, p.CertFile)
	}
	return cert, key, nil
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block.Bytes, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
