package lokiapi

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
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
