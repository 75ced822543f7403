package lokiapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"time"
)

// EchoPath makes our collector write one line with the given token to its own
// log. The line then goes the way of every line, which is how doctor measures
// the whole way without the right to create a pod.
const EchoPath = "/logstack/v1/echo"

// echoToken bounds what a caller can put into the collector's log.
var echoToken = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// ValidEchoToken says whether a token is short and plain enough to be logged.
func ValidEchoToken(token string) bool { return echoToken.MatchString(token) }

// Echo asks for the line.
func (c *Client) Echo(ctx context.Context, token string) error {
	_, err := c.get(ctx, EchoPath, url.Values{"token": {token}}, http.Header{})
	return err
}

// EchoTrace is the way of one such line, by the collector's clock; a time is
// zero until the line has come there. The collector tells its last ones under
// "echoes" of [StatusPath].
type EchoTrace struct {
	Token string `json:"token"`
	// Asked is when the request came, Written the container runtime's stamp,
	// Read when the line was read back from the API server, Stored when it was
	// durable.
	Asked   time.Time `json:"asked"`
	Written time.Time `json:"written,omitzero"`
	Read    time.Time `json:"read,omitzero"`
	Stored  time.Time `json:"stored,omitzero"`
}

// EchoTrace asks how far the line with a token has come; nil when the collector
// that answers does not know it.
func (c *Client) EchoTrace(ctx context.Context, token string) (*EchoTrace, error) {
	body, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	var status struct {
		Echoes []EchoTrace `json:"echoes"`
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return nil, err
	}
	for i := range status.Echoes {
		if status.Echoes[i].Token == token {
			return &status.Echoes[i], nil
		}
	}
	return nil, nil
}
