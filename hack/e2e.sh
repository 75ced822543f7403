#!/usr/bin/env bash
# The tests on the real cluster: bring it up, load the images, run hack/e2e.
# LOGSTACK_E2E_KEEP=1 leaves the cluster running for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dist}
mkdir -p "$OUT"
arch=$(go env GOARCH)
[ "$arch" = arm ] && arch=arm/v7

CGO_ENABLED=0 go build -trimpath -o "$OUT/kubectl-logstack" ./cmd/kubectl-logstack
go run ./hack/image -o "$OUT/collector-e2e.tar" -platforms "linux/$arch" -tag ghcr.io/logstack-dev/collector:e2e
already=$(go -C hack/cluster run . status >/dev/null 2>&1 && echo yes || echo no)
go -C hack/cluster run . up >/dev/null
if [ "$already" = no ] && [ -z "${LOGSTACK_E2E_KEEP:-}" ]; then
  trap 'go -C hack/cluster run . down' EXIT
fi
go -C hack/cluster run . load "$PWD/$OUT/collector-e2e.tar"
KUBECONFIG=$(go -C hack/cluster run . kubeconfig)
export KUBECONFIG
command -v kubectl >/dev/null || LOGSTACK_E2E_KUBECTL=$(go -C hack/cluster run . build kubectl | tail -1)
export LOGSTACK_E2E_KUBECTL=${LOGSTACK_E2E_KUBECTL:-kubectl}
LOGSTACK_E2E_PLUGIN=$PWD/$OUT/kubectl-logstack go test -count=1 -timeout 30m -v ./hack/e2e "$@"
