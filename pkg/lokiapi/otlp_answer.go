package lokiapi

import (
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Codes of google.rpc.Status.
const (
	rpcUnknown           = 2
	rpcInvalidArgument   = 3
	rpcResourceExhausted = 8
	rpcUnavailable       = 14
)

// OTLPStatus is the body of an error for an HTTP status: a google.rpc.Status
// {int32 code = 1; string message = 2} in protobuf.
func OTLPStatus(status int, message string) []byte {
	code := uint64(rpcUnknown)
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestEntityTooLarge:
		code = rpcResourceExhausted
	case status >= 500:
		code = rpcUnavailable
	case status >= 400 && status != 499: // the client left
		code = rpcInvalidArgument
	}
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), code)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), message)
}

// OTLPPartialSuccess is the body of an answer when some records were refused:
// an ExportLogsServiceResponse {ExportLogsPartialSuccess partial_success = 1}
// of {int64 rejected_log_records = 1; string error_message = 2}.
func OTLPPartialSuccess(refused int, message string) []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(refused))
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), message)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
}

// OTLPPartialSuccessJSON is OTLPPartialSuccess for who sent JSON.
func OTLPPartialSuccessJSON(refused int, message string) []byte {
	b := strconv.AppendInt([]byte(`{"partialSuccess":{"rejectedLogRecords":"`), int64(refused), 10)
	return append(AppendString(append(b, `","errorMessage":`...), message), "}}\n"...)
}
