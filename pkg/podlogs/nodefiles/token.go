package nodefiles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Tokens gives the bearer token to show to kubelets. It is safe for concurrent use.
type Tokens interface {
	// Token returns a token that is valid for some time.
	Token(ctx context.Context) (string, error)
	// Refused says that a kubelet did not accept the token.
	Refused(token string)
}

const (
	// tokenLife is the shortest that the API server grants: every kubelet that
	// is asked sees the token, and could use it elsewhere as long as it lives.
	tokenLife = 10 * time.Minute
	// fileTokenAge is how long a token read from a file is used before the file
	// is read again: the kubelet replaces projected tokens.
	fileTokenAge = time.Minute
	// tokenRetry is how long a failure to get a token is remembered.
	tokenRetry = 15 * time.Second
)

// cachedToken asks get when the token has become old.
type cachedToken struct {
	get func(ctx context.Context) (token string, life time.Duration, err error)

	mu    sync.Mutex
	token string
	until time.Time
	err   error
}

// Token implements Tokens.
func (c *cachedToken) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Before(c.until) {
		return c.token, c.err
	}
	token, life, err := c.get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		c.token, c.err, c.until = "", &Error{Kind: KindToken, err: err}, now.Add(tokenRetry)
		return "", c.err
	}
	c.token, c.err, c.until = token, nil, now.Add(life)
	return token, nil
}

// Refused implements Tokens.
func (c *cachedToken) Refused(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.until = time.Time{}
	}
}

// FileTokens reads the token from a file, again and again.
func FileTokens(path string) Tokens {
	return &cachedToken{get: func(context.Context) (string, time.Duration, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", 0, fmt.Errorf("the token for kubelets cannot be read: %w", err)
		}
		token := string(bytes.TrimSpace(b))
		if token == "" {
			return "", 0, fmt.Errorf("the token for kubelets in %s is empty", path)
		}
		return token, fileTokenAge, nil
	}}
}

// RequestedTokens asks the API server for tokens of a service account. A pod
// can mount projected tokens of its own account only, and this one is to have a
// right that the pod's has not; so the pod's account may create tokens of this
// one by name (serviceaccounts/token), and nothing else of it.
//
// core is a client for the core API group. The tokens have the API server's own
// audience, since that is the one kubelets ask for (TokenReview without
// audiences), and cannot be bound to the pod, which runs under another account.
func RequestedTokens(core rest.Interface, namespace, account string) Tokens {
	return &cachedToken{get: func(ctx context.Context) (string, time.Duration, error) {
		return requestToken(ctx, core, namespace, account)
	}}
}

// tokenRequest is TokenRequest of authentication.k8s.io/v1. The types of that
// group are not linked for these fields.
type tokenRequest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		ExpirationSeconds int64 `json:"expirationSeconds"`
	} `json:"spec"`
	Status *tokenStatus `json:"status,omitempty"`
}

type tokenStatus struct {
	Token               string    `json:"token"`
	ExpirationTimestamp time.Time `json:"expirationTimestamp"`
}

func requestToken(ctx context.Context, core rest.Interface, namespace, account string) (string, time.Duration, error) {
	req := tokenRequest{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}
	req.Spec.ExpirationSeconds = int64(tokenLife / time.Second)
	body, err := json.Marshal(req)
	if err != nil {
		return "", 0, err
	}
	answer, err := core.Post().Namespace(namespace).Resource("serviceaccounts").Name(account).SubResource("token").
		SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return "", 0, fmt.Errorf("no token of the service account %s/%s (the collector needs create on serviceaccounts/token of that name): %w", namespace, account, err)
	}
	var got tokenRequest
	if err := json.Unmarshal(answer, &got); err != nil {
		return "", 0, fmt.Errorf("token of the service account %s/%s: %w", namespace, account, err)
	}
	if got.Status == nil || got.Status.Token == "" {
		return "", 0, errors.New("the API server's answer has no token")
	}
	// A server may grant a longer life than asked for, and our clock may differ.
	life := min(time.Until(got.Status.ExpirationTimestamp), tokenLife) * 4 / 5
	return got.Status.Token, max(life, time.Minute), nil
}
