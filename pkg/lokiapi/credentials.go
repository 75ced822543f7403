package lokiapi

// Headers of a collector that asks for credentials.
const (
	// TokenHeader carries what Authorization would: a token alone, or "Bearer
	// TOKEN", or "Basic …". The API server's service proxy takes Authorization
	// off, since that is for itself.
	TokenHeader = "X-Logstack-Token" //nolint:gosec // the name of a header
	// SecretHeader is in answers 401: the name of the Secret with the
	// credentials, in the collector's namespace.
	SecretHeader = "X-Logstack-Secret" //nolint:gosec // the name of a header
)
